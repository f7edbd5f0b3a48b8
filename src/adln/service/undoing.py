"""What can be taken back: names, merges and splits, for some minutes.

Only memory holds it, so that nothing of somebody who is forgotten stays behind on a disk.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

KEPT_S = 600.0
_MOST = 100


@dataclass(frozen=True)
class Step:
    """Something that was done.

    Attributes:
        action: "name", "merge" or "split".
        persons: whom it concerns; if one of them is forgotten the step is, too.
        take_back: undoes it; may raise what the gallery raises.
    """

    action: str
    persons: frozenset[int]
    take_back: Callable[[], None]


class UndoList:
    """Steps that can be taken back.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: OrderedDict[str, tuple[float, Step]] = OrderedDict()

    def add(self, step: Step) -> str:
        """Remember a step.

        Returns:
            Its name, by which it can be taken back.
        """
        undo_id = secrets.token_urlsafe(12)
        with self._lock:
            self._drop_old()
            self._steps[undo_id] = (self._clock(), step)
            while len(self._steps) > _MOST:
                self._steps.popitem(last=False)
        return undo_id

    def take(self, undo_id: str) -> Step | None:
        """Hand out a step, once; None if there is none of that name any more."""
        with self._lock:
            self._drop_old()
            _, step = self._steps.pop(undo_id, (0.0, None))
            return step

    def forget(self, persons: Iterable[int]) -> None:
        """Drop everything that concerns these people."""
        gone = frozenset(persons)
        with self._lock:
            for undo_id in [key for key, (_, step) in self._steps.items() if step.persons & gone]:
                del self._steps[undo_id]

    def _drop_old(self) -> None:
        oldest = self._clock() - KEPT_S
        while self._steps and next(iter(self._steps.values()))[0] < oldest:
            self._steps.popitem(last=False)
