from itertools import pairwise

import pytest

from adln.errors import SettingsError
from adln.pipeline.load import Costs, LoadController, LoadSettings, make_ladder

CROP_MS = {1: 1.0, 2: 2.0, 4: 8.0}
LADDER = make_ladder(crops_per_track=3, depths=(1, 2, 4), most_skipping=4)


def control(**changes: float) -> LoadController:
    return LoadController(LADDER, CROP_MS, LoadSettings(budget_ms=100.0, **changes))  # type: ignore[arg-type]


def run(load: LoadController, frames_ms: float, crops_ms: float, *, begin: int, end: int) -> None:
    """Seconds of video in which that much would be to do at the first level."""
    for second in range(begin, end):
        level = load.level
        crops = crops_ms * level.crops_per_track * CROP_MS[level.depth] / (3 * CROP_MS[4])
        load.observe(float(second), frames_ms=frames_ms / level.keep_one_in, crops_ms=crops)


def test_the_ladder_gives_up_crops_then_depth_then_frames() -> None:
    found = [(level.crops_per_track, level.depth, level.keep_one_in) for level in LADDER]
    assert found == [
        (3, 4, 1),
        (2, 4, 1),
        (1, 4, 1),
        (1, 2, 1),
        (1, 1, 1),
        (1, 1, 2),
        (1, 1, 4),
    ]


def test_nothing_is_given_up_within_the_budget() -> None:
    load = control()
    run(load, 40, 55, begin=0, end=30)
    assert load.position == 0


def test_it_falls_as_far_as_it_takes_in_one_step() -> None:
    load = control()
    load.observe(0.0, frames_ms=0, crops_ms=0)
    assert load.observe(1.0, frames_ms=50, crops_ms=240)
    # 240 ms for three crops at depth 4: one at depth 4 takes 80, one at depth 2 takes 20.
    assert load.level == LADDER[3]
    assert load.load_ms == pytest.approx(290)


def test_frames_are_dropped_only_when_nothing_else_helps() -> None:
    load = control()
    run(load, 150, 10, begin=0, end=10)
    assert load.level.keep_one_in == 2
    assert (load.level.crops_per_track, load.level.depth) == (1, 1)


def test_it_rises_again_when_there_has_been_room_for_a_while() -> None:
    load = control(rise_after_s=3.0)
    run(load, 50, 240, begin=0, end=5)
    low = load.position
    run(load, 50, 10, begin=5, end=8)
    assert load.position == low
    run(load, 50, 10, begin=8, end=40)
    assert load.position == 0


def test_it_does_not_swing_between_two_levels() -> None:
    load = control()
    positions = []
    for second in range(300):
        run(load, 40, 75, begin=second, end=second + 1)
        positions.append(load.position)
    changes = sum(a != b for a, b in pairwise(positions[10:]))
    assert changes == 0


def test_a_load_that_keeps_coming_back_is_met_with_more_and_more_patience() -> None:
    load = control(rise_after_s=2.0)
    rises = []
    before = 0
    for second in range(400):
        # As soon as it does all, there is too much to do.
        run(load, 20, 200 if load.position == 0 else 20, begin=second, end=second + 1)
        if load.position < before:
            rises.append(second)
        before = load.position
    gaps = [b - a for a, b in pairwise(rises)]
    assert max(gaps) > 4 * min(gaps)


def test_the_same_costs_give_the_same_steps() -> None:
    def positions() -> list[int]:
        load, found = control(), []
        for second in range(100):
            run(load, 30 + second % 40, 10 * (second % 30), begin=second, end=second + 1)
            found.append(load.position)
        return found

    assert positions() == positions()


def test_a_budget_of_nothing_adapts_nothing() -> None:
    load = LoadController(LADDER, CROP_MS, LoadSettings(budget_ms=0.0))
    run(load, 1e6, 1e6, begin=0, end=10)
    assert load.position == 0


def test_stated_costs_count_frames_and_crops() -> None:
    assert Costs(frame_ms=30, crop_ms=CROP_MS).of(4, {2: 5}) == (120, 10)


def test_a_depth_without_a_cost_is_refused() -> None:
    with pytest.raises(SettingsError, match="depth"):
        LoadController(LADDER, {1: 1.0}, LoadSettings())


@pytest.mark.parametrize("wrong", [{"headroom": 1.5}, {"window_s": 0.0}, {"budget_ms": -1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        LoadSettings(**wrong)  # type: ignore[arg-type]


def test_it_rises_again_also_where_frames_alone_take_most_of_the_budget() -> None:
    load = control()
    run(load, 80, 60, begin=0, end=10)  # a crowd
    assert load.position > 0
    run(load, 80, 10, begin=10, end=60)  # 80 for the frames, 10 of the 20 that are left for crops
    assert load.position == 0
