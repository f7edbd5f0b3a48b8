"""Changes that can be undone for some minutes: names, merges, splits and assignments.

They are held in memory only, so that nothing about a forgotten person remains on the disk.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from adln.gallery.holding import HELD_S

KEPT_S = HELD_S
_MOST = 100


@dataclass(frozen=True)
class Step:
    """A change that can be undone by `take_back`, which may raise the gallery's errors.

    It is dropped when one of `persons`, whom it concerns, is forgotten.
    """

    action: str
    persons: frozenset[int]
    take_back: Callable[[], None]


class UndoList:
    """Steps that can be undone; `clock` is monotonic, in s."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: OrderedDict[str, tuple[float, Step]] = OrderedDict()

    def add(self, step: Step) -> str:
        """Add a step; returns its id."""
        undo_id = secrets.token_urlsafe(12)
        with self._lock:
            self._drop_old()
            self._steps[undo_id] = (self._clock(), step)
            if len(self._steps) > _MOST:
                self._steps.popitem(last=False)
        return undo_id

    def find(self, undo_id: str) -> Step | None:
        """A step, which stays; None if there is no such step any more."""
        with self._lock:
            self._drop_old()
            _, step = self._steps.get(undo_id, (0.0, None))
            return step

    def take(self, undo_id: str) -> Step | None:
        """Remove and return a step; None if there is no such step any more."""
        with self._lock:
            self._drop_old()
            _, step = self._steps.pop(undo_id, (0.0, None))
            return step

    def forget(self, persons: Iterable[int]) -> None:
        """Drop all steps that concern these people."""
        gone = frozenset(persons)
        with self._lock:
            for undo_id in [key for key, (_, step) in self._steps.items() if step.persons & gone]:
                del self._steps[undo_id]

    def _drop_old(self) -> None:
        oldest = self._clock() - KEPT_S
        while self._steps and next(iter(self._steps.values()))[0] < oldest:
            self._steps.popitem(last=False)
