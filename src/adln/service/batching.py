"""Batches concurrent searches into one search of the gallery.

The gallery answers one call at a time, and most of that time goes into reading its codes. Searches
that arrive while one is running queue up; then those with equal parameters are answered together,
reading the codes once. A search that arrives alone starts immediately.
"""

import logging
import threading
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.errors import AdlnError
from adln.gallery.adapting import NO_CAMERA
from adln.gallery.interface import Gallery
from adln.gallery.records import Filter, ModelKey, PersonsResult, SearchResult

_Result = SearchResult | PersonsResult

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asked:
    """Parameters of a search except its query; searches with equal ones are batched."""

    model: ModelKey
    k: int
    where: Filter

    def of(
        self, gallery: Gallery, queries: NDArray[np.float32], cameras: Sequence[int]
    ) -> Sequence[_Result]:
        return gallery.search(queries, cameras=cameras, **vars(self))


@dataclass(frozen=True)
class _AskedForPersons(_Asked):
    without: frozenset[int]
    named: bool
    sightings: int

    def of(
        self, gallery: Gallery, queries: NDArray[np.float32], cameras: Sequence[int]
    ) -> Sequence[_Result]:
        return gallery.search_persons(queries, cameras=cameras, **vars(self))


@dataclass(eq=False)
class _Waiting:
    """A queued search."""

    query: NDArray[np.float32]
    camera: int
    asked: _Asked
    result: _Result | None = None
    alone: bool = False


class Searches:
    """Searches a gallery for several threads."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        # Held by the thread that runs a batch.
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

    def search(
        self,
        query: NDArray[np.float32],
        *,
        model: ModelKey,
        k: int,
        where: Filter,
        cameras: Sequence[int] | None = None,
    ) -> SearchResult:
        """See `Gallery.search`; for one query (D,).

        Raises:
            GalleryError: see there.
        """
        result = self._search(query, cameras, _Asked(model, k, where))
        assert isinstance(result, SearchResult)
        return result

    def search_persons(
        self,
        embeddings: NDArray[np.floating],
        *,
        model: ModelKey,
        k: int,
        where: Filter,
        without: Set[int] = frozenset(),
        named: bool = False,
        cameras: Sequence[int] | None = None,
        sightings: int = 0,
    ) -> list[PersonsResult]:
        """See `Gallery.search_persons`; for one query (D,).

        Raises:
            GalleryError: see there.
        """
        asked = _AskedForPersons(model, k, where, frozenset(without), named, sightings)
        result = self._search(embeddings.astype(np.float32), cameras, asked)
        assert isinstance(result, PersonsResult)
        return [result]

    def _search(
        self, query: NDArray[np.float32], cameras: Sequence[int] | None, asked: _Asked
    ) -> _Result:
        (camera,) = [NO_CAMERA] if cameras is None else cameras
        mine = _Waiting(query, camera, asked)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            if mine.result is None and not mine.alone:
                self._answer(self._take(mine))
        if mine.result is not None:
            return mine.result
        # The batch failed: each is searched alone, and succeeds or raises its own error.
        (result,) = asked.of(self._gallery, query, [camera])
        return result

    def _take(self, mine: _Waiting) -> list[_Waiting]:
        """Remove and return the queued searches with the same parameters."""
        with self._lock:
            taken = [one for one in self._waiting if one.asked == mine.asked]
            self._waiting = [one for one in self._waiting if one.asked != mine.asked]
        return taken

    def _answer(self, taken: list[_Waiting]) -> None:
        try:
            queries = np.stack([one.query for one in taken])
            cameras = [one.camera for one in taken]
            results = taken[0].asked.of(self._gallery, queries, cameras)
            for one, result in zip(taken, results, strict=True):
                one.result = result
        except AdlnError:
            _log.debug("a batch of %d searches failed; running each alone", len(taken))
        finally:
            # Wakes every waiting thread, whatever happened.
            for one in taken:
                one.alone = one.result is None
