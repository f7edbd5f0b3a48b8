"""Searches a gallery for the person of a track, whatever the depths of both.

`adln.matching.identification` decides who it is; this module chooses which of a track's embeddings
to search with.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.interface import Gallery
from adln.gallery.records import Filter, ModelKey
from adln.matching.calibration import Scales
from adln.matching.identification import Identification, identify

# Most people known also at a deeper depth who may be ranked above one who is not.
_MOST_KNOWN_DEEPER = 8


class PeopleSearch:
    """Searches a gallery for tracks.

    Args:
        gallery: the gallery to search.
        digest: identifies the network; see `ModelKey`.
        dim: length of an embedding.
        scales: calibrations by depth of the track and of the stored embedding.
        spaces: depth -> space of its embeddings; "" or missing if unknown.
    """

    def __init__(
        self,
        gallery: Gallery,
        *,
        digest: str,
        dim: int,
        scales: Scales,
        spaces: Mapping[int, str],
    ) -> None:
        self._gallery = gallery
        self._digest, self._dim = digest, dim
        self._scales = scales
        self._spaces = dict(spaces)

    def key(self, depth: int) -> ModelKey:
        """Key of the network at a depth."""
        return ModelKey(self._digest, depth, self._dim, self._spaces.get(depth, ""))

    def depths_of(self, depths: Iterable[int]) -> list[int]:
        """Depths at which to store and search a track: the deepest of each space.

        Args:
            depths: depths that all crops of the track have, deepest first.
        """
        chosen: dict[str | int, int] = {}
        for depth in depths:
            chosen.setdefault(self._spaces.get(depth) or depth, depth)
        return list(chosen.values())

    def find(
        self,
        pooled: Mapping[int, NDArray[np.float32]],
        *,
        least_gallery: int,
        barred: Set[int] = frozenset(),
        only: int | None = None,
        own: Set[int] = frozenset(),
        camera: int | None = None,
    ) -> Identification:
        """Decide who a track is.

        Args:
            pooled: depth -> (D,) embedding of the track, for `depths_of` its depths, deepest first.
            least_gallery: smallest gallery size that scores are judged for.
            barred: people it cannot be.
            only: if given, only this person is compared.
            own: sightings of this track, which are ignored.
            camera: number of the track's camera; None if unknown.

        Raises:
            GalleryError: the gallery cannot be searched, or there is no calibration for a depth.
        """
        deepest = next(iter(pooled))
        where = Filter(
            persons=None if only is None else frozenset({only}), not_persons=frozenset(barred)
        )
        best: Identification | None = None
        for depth, embedding in pooled.items():
            # People may be known in a shallower space only, from times of high load.
            if best is not None and self._count(depth) <= self._count(deepest):
                break
            found = self._find_at(depth, embedding, where, own, least_gallery, camera)
            for _ in range(_MOST_KNOWN_DEEPER):
                if best is None or found.nearest is None:
                    break
                person = found.nearest.person_id
                if not self._count(deepest, frozenset({person})):
                    break
                where = replace(where, not_persons=where.not_persons | {person})
                found = self._find_at(depth, embedding, where, own, least_gallery, camera)
            if best is None or found.verdict == "matched":
                best = found
            if best.verdict == "matched":
                break
        assert best is not None
        return best

    def _find_at(
        self,
        depth: int,
        embedding: NDArray[np.float32],
        where: Filter,
        own: Set[int],
        least_gallery: int,
        camera: int | None,
    ) -> Identification:
        found = identify(
            self._gallery,
            embedding,
            model=self.key(depth),
            scales=self._scales,
            where=where,
            without=own,
            least_gallery=least_gallery,
            # Sightings leave the device, and names stay in the gallery.
            names=False,
            camera=camera,
        )
        if found.verdict is None:
            raise GalleryError(
                f"no calibration and no thresholds for depth {depth}; there are some for "
                f"{sorted(self._scales.own)}."
            )
        return found

    def _count(self, depth: int, persons: frozenset[int] | None = None) -> int:
        """Number of sightings in the space of a depth."""
        space = self._spaces.get(depth)
        same = [depth] if not space else [d for d, its in self._spaces.items() if its == space]
        count = self._gallery.count
        return sum(count(Filter(persons=persons, depth=one)) for one in same)
