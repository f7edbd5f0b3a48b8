"""Work slots assigned round-robin among callers, so that one caller's queue delays no one else.

A plain semaphore serves in order of arrival: everyone would wait for a caller who sends five
hundred requests at once. Here each caller has a queue, and a free slot goes to the next caller.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSlots:
    """Slots shared round-robin among callers. For one event loop.

    One caller may hold `most_of_one` of them; by default all.
    """

    def __init__(self, slots: int, *, most_of_one: int | None = None) -> None:
        self._free = slots
        self._most_of_one = slots if most_of_one is None else most_of_one
        self._held: Counter[str] = Counter()
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def slot(self, caller: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        await self._take(caller)
        try:
            yield
        finally:
            self._give_back(caller)

    def _give_back(self, caller: str) -> None:
        self._free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        self._hand_out()

    async def _take(self, caller: str) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(mine)
        self._hand_out()
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                # The slot was assigned just when the caller left: pass it on.
                self._give_back(caller)
            raise

    def _hand_out(self) -> None:
        while self._free:
            caller = next(
                (one for one in self._queues if self._held[one] < self._most_of_one), None
            )
            if caller is None:
                return
            queue = self._queues.pop(caller)
            waiting = queue.popleft()
            if queue:
                # Back to the end, behind all other callers.
                self._queues[caller] = queue
            if not waiting.done():
                self._free -= 1
                self._held[caller] += 1
                waiting.set_result(None)
