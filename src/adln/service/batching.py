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
from adln.gallery.records import Filter, ModelKey, PersonsResult

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asked:
    """Parameters of a search except its query; searches with equal ones are batched."""

    model: ModelKey
    k: int
    where: Filter
    without: frozenset[int]
    named: bool
    sightings: int


@dataclass(eq=False)
class _Waiting:
    """A queued search."""

    query: NDArray[np.float32]
    camera: int
    asked: _Asked
    result: PersonsResult | None = None
    alone: bool = False


class Searches:
    """Searches a gallery for several threads."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        # Held by the thread that runs a batch.
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

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
        asked = _Asked(model, k, where, frozenset(without), named, sightings)
        (camera,) = [NO_CAMERA] if cameras is None else cameras
        mine = _Waiting(embeddings.astype(np.float32), camera, asked)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            if mine.result is None and not mine.alone:
                self._answer(asked)
        if mine.result is not None:
            return [mine.result]
        # The batch failed: each is searched alone, and succeeds or raises its own error.
        return self._gallery.search_persons(mine.query, cameras=[camera], **vars(asked))

    def _answer(self, asked: _Asked) -> None:
        """Answer the queued searches with these parameters."""
        with self._lock:
            taken = [one for one in self._waiting if one.asked == asked]
            self._waiting = [one for one in self._waiting if one.asked != asked]
        try:
            queries = np.stack([one.query for one in taken])
            cameras = [one.camera for one in taken]
            results = self._gallery.search_persons(queries, cameras=cameras, **vars(asked))
            for one, result in zip(taken, results, strict=True):
                one.result = result
        except AdlnError:
            _log.debug("a batch of %d searches failed; running each alone", len(taken))
        finally:
            # Wakes every waiting thread, whatever happened.
            for one in taken:
                one.alone = one.result is None
