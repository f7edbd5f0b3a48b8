"""Connects `adln.embedders.cascade` to `adln.gallery`, so that a cascade can search.

If the two depths of a cascade share a space, shallow and deep queries search the same gallery;
otherwise each depth needs its own gallery, and both must contain the people of interest.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from adln.embedders.cascade import BestAnswers, Cascade, LookUp, Search
from adln.errors import GalleryError
from adln.gallery.interface import Gallery
from adln.gallery.records import EVERYTHING, NO_PERSON, Filter, ModelKey
from adln.matching.confidence import MORE_ANSWERS


def model_keys(cascade: Cascade) -> dict[int, ModelKey]:
    """Depth -> key of the cascade's embeddings in a gallery, for its two depths."""
    keys = {}
    for depth in cascade.depths:
        model = cascade.model_of(depth)
        keys[depth] = ModelKey(model.sha256, depth, cascade.dim, model.manifest.space_of(depth))
    return keys


def search_in(
    gallery: Gallery | Mapping[int, Gallery],
    models: Mapping[int, ModelKey],
    *,
    k: int = MORE_ANSWERS,
    where: Filter = EVERYTHING,
    persons_known: bool = True,
) -> Search:
    """The search function for `Cascade.search`.

    Args:
        gallery: The gallery; or depth -> gallery, if the depths do not share a space. Numbers of
            sightings and persons are then those of the gallery of the answering depth.
        models: Depth -> key, see `model_keys`.
        k: Answers per search.
        where: Only these sightings are searched.
        persons_known: Whether the confidence uses the persons of the sightings. Set it to False if
            most sightings are unassigned.
    """

    def search(embeddings: NDArray[np.float32], depth: int) -> BestAnswers:
        shape = (len(embeddings), k)
        similarity = np.full(shape, -np.inf, np.float32)
        sighting_ids = np.full(shape, -1, np.int64)
        person_ids = np.full(shape, NO_PERSON, np.int64)
        if len(embeddings) > 0:
            searched = gallery[depth] if isinstance(gallery, Mapping) else gallery
            results = searched.search(embeddings, model=models[depth], k=k, where=where)
            for row, result in enumerate(results):
                similarity[row, : len(result)] = result.similarity
                sighting_ids[row, : len(result)] = result.sighting_ids
                person_ids[row, : len(result)] = result.person_ids
        return BestAnswers(similarity, sighting_ids, person_ids if persons_known else None)

    return search


def look_up_in(gallery: Gallery, model: ModelKey) -> LookUp:
    """A function that returns deep embeddings for query expansion.

    Args:
        gallery: The gallery that is searched.
        model: Key of the deep network.

    Returns:
        A function that raises `GalleryError` if a sighting does not share the network's space.
        Sightings erased in the meantime have zeros, which have no weight.
    """

    def look_up(sighting_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        wanted, places = np.unique(sighting_ids, return_inverse=True)
        embeddings = np.zeros((len(wanted), model.dim), np.float32)
        row_of = {int(number): row for row, number in enumerate(wanted)}
        for record in gallery.get(wanted[wanted >= 0].tolist()):
            if not record.model.shares_space(model):
                raise GalleryError(
                    f"sighting {record.sighting_id} was embedded by {record.model}, which does not "
                    f"share a space with {model}, so it cannot expand a query. Search without "
                    "query expansion, or use exits that share a space."
                )
            embeddings[row_of[record.sighting_id]] = record.embedding
        return embeddings[places.reshape(sighting_ids.shape)]

    return look_up
