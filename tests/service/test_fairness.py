import asyncio
from collections.abc import AsyncIterator

import pytest

from adln.service.fairness import FairSlots


def test_a_caller_with_a_long_queue_does_not_make_others_wait_for_all_of_it() -> None:
    async def ask() -> list[str]:
        slots = FairSlots(1)
        order: list[str] = []

        async def work(caller: str) -> None:
            async with slots.slot(caller):
                order.append(caller)
                await asyncio.sleep(0)

        hostile = [asyncio.create_task(work("hostile")) for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.gather(*(work("honest") for _ in range(3)), *hostile)
        return order

    order = asyncio.run(ask())
    assert len(order) == 103
    assert "honest" not in order[8:]


def test_no_more_work_at_a_time_than_there_are_slots() -> None:
    async def ask() -> int:
        slots, running, most = FairSlots(3), 0, 0

        async def work(caller: str) -> None:
            nonlocal running, most
            async with slots.slot(caller):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1

        await asyncio.gather(*(work(str(at % 4)) for at in range(20)))
        return most

    assert asyncio.run(ask()) == 3


def test_one_caller_holds_no_more_than_its_part_while_others_find_a_slot() -> None:
    async def ask() -> None:
        slots = FairSlots(2, most_of_one=1)
        async with slots.slot("a"):
            second = asyncio.create_task(anext(enter(slots, "a")))
            await asyncio.sleep(0)
            async with asyncio.timeout(5), slots.slot("b"):
                assert not second.done()
        await second

    async def enter(slots: FairSlots, caller: str) -> AsyncIterator[None]:
        async with slots.slot(caller):
            yield

    asyncio.run(ask())


def test_who_leaves_while_waiting_or_just_when_it_is_their_turn_takes_no_slot_along() -> None:
    async def ask() -> None:
        slots = FairSlots(1)

        async def wait() -> None:
            async with slots.slot("a"):
                pass

        async with slots.slot("b"):
            waiting = [asyncio.create_task(wait()) for _ in range(2)]
            await asyncio.sleep(0)
            waiting[0].cancel()
        # The slot is handed to the second one at this moment; it leaves before it runs.
        waiting[1].cancel()
        for one in waiting:
            with pytest.raises(asyncio.CancelledError):
                await one
        async with asyncio.timeout(5), slots.slot("c"):
            pass

    asyncio.run(ask())
