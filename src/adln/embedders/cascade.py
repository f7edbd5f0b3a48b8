"""Searches by the shallow embedding of each crop, and by a deep one where that leaves it unsure.

Sec. III.C of the paper cuts one network at several depths. With the files of a split export a crop
whose answer is unsure goes on from its cached map, so that only the missing stages are computed.
`adln.evaluation.cascade` says what a threshold costs in accuracy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

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
    """The K best answers to each of N searches, best first.

    Attributes:
        similarity: (N, K) float32 cosines; -inf where a gallery has fewer answers.
        sighting_ids: (N, K) int64, what the gallery calls them.
        person_ids: (N, K) int64, whom they show, negative where unknown; None if this gallery
            knows no persons at all.
    """

    similarity: NDArray[np.float32]
    sighting_ids: NDArray[np.int64]
    person_ids: NDArray[np.int64] | None = None


Search = Callable[[NDArray[np.float32], int], BestAnswers]
"""Searches a gallery with embeddings (N, D) of a depth; always for the same number K of answers.

With a gallery for each depth, it takes the one of this depth. If the exits share a space, it takes
the deep one always.
"""
LookUp = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Gives the deep embeddings (N, K, D) of sightings (N, K)."""


@dataclass(frozen=True, eq=False)
class CascadeAnswers:
    """Answers to N crops.

    Attributes:
        found: Of each crop, from the last search with it.
        depths: (N,) int64, depth of the network that each crop went through.
        confidence: (N,) float64, of the shallow answer.
        embeddings: (N, D) float32 of unit length, each at its own depth.
    """

    found: BestAnswers
    depths: NDArray[np.int64]
    confidence: NDArray[np.float64]
    embeddings: NDArray[np.float32]


class Cascade:
    """A shallow network for every crop, and deeper stages for some.

    Args:
        paths: Files of one split export (`adln export --depths 2,4 --split`), from the shallowest
            on. Every crop goes through the first; those that go deeper go through all others.
        threads: Cores to use.
        batch_size: Crops whose maps are held at a time.

    Raises:
        ModelFileError: A file cannot be opened, they do not belong together, or there is only one.
        SettingsError: `threads` or `batch_size` is below one.

    Attributes:
        shallow: The file that every crop goes through.
        deeper: The others, in order.
        depths: Depth of every crop, and depth of those that go deeper.
        dim: Length D of an embedding.
        crop_size: Height and width in px of the crops that it takes.
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
                f"a cascade needs the files of a split export, two or more, got {len(paths)}: "
                "export them with `adln export --depths 2,4 --split`."
            )
        self.shallow = OnnxEmbedder(paths[0], threads=threads, batch_size=batch_size)
        self.deeper = chained(self.shallow, paths[1:], threads=threads)
        self._batch_size = batch_size
        self.depths = self.shallow.depths[-1], self.deeper[-1].depths[-1]
        self.dim, self.crop_size = self.shallow.dim, self.shallow.crop_size

    def model_of(self, depth: int) -> OpenModel:
        """The open file that answers one of the two `depths`."""
        return self.shallow.model if depth == self.depths[0] else self.deeper[-1].model

    def search(
        self,
        crops: NDArray[np.uint8],
        search: Search,
        *,
        threshold: float,
        expand_from: LookUp | None = None,
    ) -> CascadeAnswers:
        """Search with crops, going deeper where the answer is unsure.

        Args:
            crops: (N, H, W, 3) RGB uint8, of `crop_size`.
            search: A gallery.
            threshold: Crops whose answer is less sure than that go deeper: see
                `adln.matching.confidence.threshold_for`; -inf for none, inf for all.
            expand_from: If given, every crop is searched for once more, by the deep embeddings of
                its best answers.

        Raises:
            ImageError: The array is of another shape or type.
            SettingsError: The threshold is NaN, or the gallery does not answer each embedding.
        """
        if np.isnan(threshold):
            raise SettingsError("the threshold of a cascade is a number, -inf or inf, got nan.")
        # Also of no crop at all, which gives empty arrays their shapes.
        starts = range(0, max(len(crops), 1), self._batch_size)
        parts = [
            self._search(crops[start : start + self._batch_size], search, threshold, expand_from)
            for start in starts
        ]
        persons = [part.found.person_ids for part in parts]
        known = [ids for ids in persons if ids is not None]
        return CascadeAnswers(
            found=BestAnswers(
                similarity=np.concatenate([part.found.similarity for part in parts]),
                sighting_ids=np.concatenate([part.found.sighting_ids for part in parts]),
                person_ids=np.concatenate(known) if len(known) == len(parts) else None,
            ),
            depths=np.concatenate([part.depths for part in parts]),
            confidence=np.concatenate([part.confidence for part in parts]),
            embeddings=np.concatenate([part.embeddings for part in parts]),
        )

    def embed_first(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Handover]:
        """Embed crops by the first file: (N, D), and the maps to go deeper from."""
        embeddings, maps = self.shallow.embed_with_maps(crops)
        return embeddings[self.depths[0]], maps[self.deeper[0].starts_after]

    def embed_deeper(self, maps: Handover) -> NDArray[np.float32]:
        """Go on from maps of `embed_first`, for N crops, to the last file: (N, D)."""
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
            # All answers of a crop may have been erased since it was searched for.
            is_there = expanded.any(axis=1)
            answered[answered] = is_there
            found = _replaced(found, answered, _asked(search, expanded[is_there], deep))
        return CascadeAnswers(found, np.where(is_deeper, deep, shallow), sure, embeddings)


def _asked(search: Search, embeddings: NDArray[np.float32], depth: int) -> BestAnswers:
    found = search(embeddings, depth)
    shapes = [found.similarity.shape, found.sighting_ids.shape]
    if found.person_ids is not None:
        shapes.append(found.person_ids.shape)
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or shapes[0][0] != len(embeddings):
        raise SettingsError(
            f"the gallery was asked for {len(embeddings)} embeddings and gave arrays of shapes "
            f"{shapes}; expected (N, K) each."
        )
    return found


def _replaced(found: BestAnswers, rows: NDArray[np.bool_], by: BestAnswers) -> BestAnswers:
    """The answers of some rows replaced."""
    if found.similarity.shape[1] != by.similarity.shape[1] or (found.person_ids is None) != (
        by.person_ids is None
    ):
        raise SettingsError(
            "the gallery gave another number of answers, or persons for one search only; it must "
            "answer every search alike."
        )
    similarity, sighting_ids = found.similarity.copy(), found.sighting_ids.copy()
    similarity[rows], sighting_ids[rows] = by.similarity, by.sighting_ids
    person_ids = None
    if found.person_ids is not None and by.person_ids is not None:
        person_ids = found.person_ids.copy()
        person_ids[rows] = by.person_ids
    return BestAnswers(similarity, sighting_ids, person_ids)
