"""Stops a run between two steps: when its time is up, or on a signal.

SIGTERM and SIGINT only set a flag, so that the state is written at the end of a step.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

StopCheck = Callable[[], str | None]
"""Asked after each step: the reason to stop, or None to continue."""


def never() -> str | None:
    """Never stop early."""
    return None


@contextmanager
def stop_on_request(stop_after_s: float | None) -> Iterator[StopCheck]:
    """Watch SIGTERM, SIGINT and, if there is a limit, the clock while the block runs.

    Yields:
        The check to pass to the training loop.
    """
    deadline = None if stop_after_s is None else time.monotonic() + stop_after_s
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt(number)  # a second signal stops at once
        received.append(number)

    watched = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, note) for number in watched}

    def check() -> str | None:
        if received:
            return f"received {signal.Signals(received[0]).name}"
        if deadline is not None and time.monotonic() >= deadline:
            return f"the time of {stop_after_s:g} s is up"
        return None

    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
