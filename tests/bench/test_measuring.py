from functools import partial

import numpy as np
import pytest

from adln.bench.measuring import Times, time_in_turns


def test_tasks_take_turns_in_an_order_that_changes() -> None:
    ran: list[str] = []
    tasks = {name: partial(ran.append, name) for name in "abc"}
    times = time_in_turns(tasks, rounds=8, repeats=1, seed=1)
    # Each turn is one untimed and one timed run.
    turns = ["".join(ran[start : start + 6 : 2]) for start in range(0, len(ran), 6)]
    assert len(turns) == 8
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert len(set(turns)) > 1
    assert list(times) == ["a", "b", "c"]


def test_same_seed_gives_the_same_order() -> None:
    def order() -> list[str]:
        ran: list[str] = []
        time_in_turns({n: partial(ran.append, n) for n in "abcd"}, rounds=5, seed=7)
        return ran

    assert order() == order()


def test_each_task_is_timed_rounds_times_repeats_and_progress_is_told() -> None:
    told: list[int] = []
    times = time_in_turns({"a": dict, "b": list}, rounds=3, repeats=4, on_progress=told.append)
    assert times["a"].wall_s.shape == times["b"].cpu_s.shape == (12,)
    assert (times["a"].wall_s >= 0).all()
    assert sum(told) == 6


def test_quantiles_are_those_of_the_times() -> None:
    times = Times(np.arange(101.0), np.arange(101.0) * 2)
    assert times.wall() == 50
    assert times.wall(0.95) == pytest.approx(95)
    assert times.cpu(0.05) == pytest.approx(10)
