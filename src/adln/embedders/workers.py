"""A thread pool for one embedder that also works after a fork."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


class Workers:
    """A pool of threads that also works in a forked process.

    A fork copies an executor without its threads, so that submitted work is never done;
    `multiprocessing` forks on Linux before Python 3.14. Here the child starts its own threads.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._start()

    def map(self, work: Callable[..., Answer], *given: Iterable[object]) -> Iterator[Answer]:
        """Like `ThreadPoolExecutor.map`."""
        if self._process != os.getpid():
            self._start()
        return self._pool.map(work, *given)

    def _start(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads)
        self._process = os.getpid()
