"""Lets a cascade search in a gallery: joins `adln.embedders.cascade` and `adln.gallery`.

A gallery compares what shares a space. If the two depths of a cascade share one, shallow and deep
queries search the same gallery; if not, there is one for each depth, and both have to hold the
people of interest.
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
    """Depth -> what names the embeddings of a cascade in a gallery, for its two depths."""
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
    """The search that `Cascade.search` asks for.

    Args:
        gallery: Where to search; or depth -> gallery, if the depths do not share a space. Sightings
            and persons are then numbered by the gallery of the depth that answered.
        models: Depth -> model, see `model_keys`.
        k: Answers to each search.
        where: Which sightings may answer.
        persons_known: Whether confidence may look at whom the gallery says a sighting shows. Where
            hardly anybody has a name, it had better not.
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
    """The deep embeddings for query expansion, if shallow queries search a deep gallery.

    Args:
        gallery: The one that is searched.
        model: Of the deep network.

    Returns:
        A function that raises `GalleryError` if a sighting does not share the model's space.
        Sightings that are gone meanwhile have zeros, which weigh nothing.
    """

    def look_up(sighting_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        wanted, places = np.unique(sighting_ids, return_inverse=True)
        embeddings = np.zeros((len(wanted), model.dim), np.float32)
        row_of = {int(number): row for row, number in enumerate(wanted)}
        for record in gallery.get(wanted[wanted >= 0].tolist()):
            if not record.model.shares_space(model):
                raise GalleryError(
                    f"sighting {record.sighting_id} is of {record.model}, which does not share a "
                    f"space with {model}: a query cannot be expanded by it. Search without "
                    "query expansion, or with exits that share a space."
                )
            embeddings[row_of[record.sighting_id]] = record.embedding
        return embeddings[places.reshape(sighting_ids.shape)]

    return look_up
