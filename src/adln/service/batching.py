"""Searches of several callers at a time become one search of the gallery.

The gallery answers one call at a time, and reading its codes takes most of it. So while one search
runs, the others wait and line up; then all that ask alike are answered by reading the codes once.
Nobody waits for company: whoever comes alone is searched for at once.
"""

import logging
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.errors import AdlnError
from adln.gallery.interface import Gallery
from adln.gallery.records import Filter, ModelKey, SearchResult

_log = logging.getLogger(__name__)

_Alike = tuple[ModelKey, int, Filter]


@dataclass(eq=False)
class _Waiting:
    """A search that waits for its answer."""

    query: NDArray[np.float32]
    alike: _Alike
    result: SearchResult | None = None
    alone: bool = False


class Searches:
    """Searches a gallery. May be used by several threads; that is what it is for.

    Args:
        gallery: any.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        # Held by whoever searches for all that wait.
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

    def search(
        self, query: NDArray[np.float32], *, model: ModelKey, k: int, where: Filter
    ) -> SearchResult:
        """See `Gallery.search`; for one query (D,).

        Raises:
            GalleryError: see there.
        """
        mine = _Waiting(query, (model, k, where))
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            if mine.result is None and not mine.alone:
                self._answer(self._take(mine))
        if mine.result is not None:
            return mine.result
        # Together it did not work; by itself it works, or says why not.
        (result,) = self._gallery.search(query, model=model, k=k, where=where)
        return result

    def _take(self, mine: _Waiting) -> list[_Waiting]:
        """Those that wait and ask alike, off the line."""
        with self._lock:
            taken = [one for one in self._waiting if one.alike == mine.alike]
            self._waiting = [one for one in self._waiting if one.alike != mine.alike]
        return taken

    def _answer(self, taken: list[_Waiting]) -> None:
        model, k, where = taken[0].alike
        try:
            results = self._gallery.search(
                np.stack([one.query for one in taken]), model=model, k=k, where=where
            )
            for one, result in zip(taken, results, strict=True):
                one.result = result
        except AdlnError:
            _log.debug("a search for %d callers failed; each is searched for alone", len(taken))
        finally:
            # Whatever happened, nobody is forgotten.
            for one in taken:
                one.alone = one.result is None
