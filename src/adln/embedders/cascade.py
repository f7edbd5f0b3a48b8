"""Searches with the shallow embedding of each crop, and with a deep one if that is uncertain.

Sec. III.C of the paper: with the files of a split export, an uncertain crop continues from its
feature map. `adln.evaluation.cascade` measures the accuracy at a threshold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.embedders.deeper import chained
from adln.embedders.embedder import DEFAULT_BATCH_SIZE, OnnxEmbedder
from adln.embedders.handover import Handover
from adln.embedders.session import OpenModel
from adln.errors import ModelFileError, SettingsError
from adln.matching.confidence import confidence, expand_queries


@dataclass(frozen=True, eq=False)
class BestAnswers:
    """The K best matches for each of N queries, best first.

    Attributes:
        similarity: (N, K) float32 cosines; -inf for missing matches.
        sighting_ids: (N, K) int64, the gallery's ids.
        person_ids: (N, K) int64, negative if unknown; None if the gallery has no persons at all.
    """

    similarity: NDArray[np.float32]
    sighting_ids: NDArray[np.int64]
    person_ids: NDArray[np.int64] | None = None

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Those that there are."""
        arrays = self.similarity, self.sighting_ids, self.person_ids
        return tuple(array for array in arrays if array is not None)


Search = Callable[[NDArray[np.float32], int], BestAnswers]
"""Searches a gallery with embeddings (N, D) of a depth, always for the same number K of matches.

With one gallery per depth, it searches that of this depth. If the exits share a space, it always
searches the deep one.
"""
LookUp = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Returns the deep embeddings (N, K, D) of sightings (N, K)."""


@dataclass(frozen=True, eq=False)
class CascadeAnswers:
    """Results for N crops.

    Attributes:
        found: matches of each crop, from its last search.
        depths: (N,) int64, depth at which each crop was embedded.
        confidence: (N,) float64, confidence of the shallow result.
        embeddings: (N, D) float32 of unit length, each at its own depth.
    """

    found: BestAnswers
    depths: NDArray[np.int64]
    confidence: NDArray[np.float64]
    embeddings: NDArray[np.float32]


class Cascade:
    """A shallow network for every crop, and deeper stages for some.

    Args:
        paths: files of one split export (`adln export --depths 2,4 --split`), shallowest first. The
            first embeds every crop; uncertain ones go through all others.
        threads: cores to use.
        batch_size: crops whose maps are kept at a time.

    Attributes:
        depths: depth of every crop, and depth of uncertain crops.

    Raises:
        ModelFileError: a file cannot be opened, they do not belong together, or there is only one.
        SettingsError: `threads` or `batch_size` is below one.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        threads: int = 1,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        if len(paths) < 2:
            raise ModelFileError(
                f"a cascade needs two or more files of a split export, got {len(paths)}: "
                "export them with `adln export --depths 2,4 --split`."
            )
        self.shallow = OnnxEmbedder(paths[0], threads=threads, batch_size=batch_size)
        self.deeper = chained(self.shallow, paths[1:], threads=threads)
        self._batch_size = batch_size
        self.depths = self.shallow.depths[-1], self.deeper[-1].depths[-1]
        self.dim, self.crop_size = self.shallow.dim, self.shallow.crop_size

    def model_of(self, depth: int) -> OpenModel:
        """The open file for one of the two `depths`."""
        return self.shallow.model if depth == self.depths[0] else self.deeper[-1].model

    def search(
        self,
        crops: NDArray[np.uint8],
        search: Search,
        *,
        threshold: float,
        expand_from: LookUp | None = None,
    ) -> CascadeAnswers:
        """Search with crops, going deeper if the result is uncertain.

        Args:
            crops: (N, H, W, 3) RGB uint8, of `crop_size`.
            search: a gallery.
            threshold: crops with a lower confidence go deeper: see
                `adln.matching.confidence.threshold_for`; -inf for none, inf for all.
            expand_from: if given, every crop is searched again, with the deep embeddings of its
                best matches.

        Raises:
            ImageError: the array has another shape or type.
            SettingsError: the threshold is NaN, or the gallery's results have wrong shapes.
        """
        if np.isnan(threshold):
            raise SettingsError("the threshold of a cascade is a number, -inf or inf, got nan.")
        # At least one run, even without crops, so that empty arrays get their shapes.
        starts = range(0, max(len(crops), 1), self._batch_size)
        parts = [
            self._search(crops[start : start + self._batch_size], search, threshold, expand_from)
            for start in starts
        ]
        # Without persons, if one of the parts has none.
        found = zip(*(part.found.arrays for part in parts), strict=False)
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("depths", "confidence", "embeddings")
        }
        return CascadeAnswers(BestAnswers(*map(np.concatenate, found)), **joined)

    def embed_first(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Handover]:
        """Embed crops by the first file: (N, D), and the maps for the deeper files."""
        embeddings, maps = self.shallow.embed_with_maps(crops)
        return embeddings[self.depths[0]], maps[self.deeper[0].starts_after]

    def embed_deeper(self, maps: Handover) -> NDArray[np.float32]:
        """Continue from maps of `embed_first`, for N crops, through the last file: (N, D)."""
        for part, after in pairwise(self.deeper):
            maps = part.embed_with_maps(maps)[1][after.starts_after]
        return self.deeper[-1].embed(maps)[self.depths[1]]

    def _search(
        self,
        crops: NDArray[np.uint8],
        search: Search,
        threshold: float,
        expand_from: LookUp | None,
    ) -> CascadeAnswers:
        shallow, deep = self.depths
        embeddings, maps = self.embed_first(crops)
        found = _asked(search, embeddings, shallow)
        sure = confidence(found.similarity, found.person_ids)
        is_deeper = sure < threshold
        embeddings = embeddings.copy()
        if is_deeper.any():
            embeddings[is_deeper] = self.embed_deeper(maps[is_deeper])
            found = _replaced(found, is_deeper, _asked(search, embeddings[is_deeper], deep))
        answered = np.isfinite(found.similarity[:, 0])
        if expand_from is not None and answered.any():
            answers = expand_from(found.sighting_ids[answered])
            expanded = expand_queries(answers, found.similarity[answered])
            # All matches of a crop may have been erased since the search.
            is_there = expanded.any(axis=1)
            answered[answered] = is_there
            found = _replaced(found, answered, _asked(search, expanded[is_there], deep))
        return CascadeAnswers(found, np.where(is_deeper, deep, shallow), sure, embeddings)


def _asked(search: Search, embeddings: NDArray[np.float32], depth: int) -> BestAnswers:
    found = search(embeddings, depth)
    shapes = [array.shape for array in found.arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or shapes[0][0] != len(embeddings):
        raise SettingsError(
            f"the gallery was searched with {len(embeddings)} embeddings and returned arrays of "
            f"shapes {shapes}; expected (N, K) each."
        )
    return found


def _replaced(found: BestAnswers, rows: NDArray[np.bool_], by: BestAnswers) -> BestAnswers:
    """The matches with those of some rows replaced."""
    if found.similarity.shape[1] != by.similarity.shape[1] or len(found.arrays) != len(by.arrays):
        raise SettingsError(
            "the gallery returned another number of matches, or persons for one search only; "
            "all searches must return results of the same form."
        )
    arrays = [array.copy() for array in found.arrays]
    for array, values in zip(arrays, by.arrays, strict=True):
        array[rows] = values
    return BestAnswers(*arrays)
