"""Threads that share the work of one embedder, also in a process that was forked."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


class Workers:
    """A pool of threads that a forked process has, too.

    A fork copies an executor without its threads, and what is handed to it is then never done:
    `multiprocessing` forks on Linux before Python 3.14. Here the child starts threads of its own.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._start()

    def map(self, work: Callable[..., Answer], *given: Iterable[object]) -> Iterator[Answer]:
        """Like `ThreadPoolExecutor.map`: the answers in the order of what was given."""
        if self._process != os.getpid():
            self._start()
        return self._pool.map(work, *given)

    def _start(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads)
        self._process = os.getpid()
