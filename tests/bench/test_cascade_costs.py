from collections.abc import Callable
from pathlib import Path

from adln.bench.cascade_costs import measure_costs

MakePair = Callable[..., tuple[Path, Path]]


def test_work_is_counted_on_both_sides_of_the_cut(make_pair: MakePair) -> None:
    costs = measure_costs(make_pair(), rounds=1)
    # Both small files mix 3 x 8 x 4 pooled colours into 16 numbers, for both depths.
    macs = 2 * 96 * 16
    assert (costs.depths, costs.shallow_macs, costs.deeper_macs) == ((1, 2), macs, macs)
    assert costs.macs(0.5) == 1.5 * macs
    assert costs.ms(0.0) == costs.shallow_ms
