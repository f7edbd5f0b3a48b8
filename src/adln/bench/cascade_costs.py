"""Cost of a cascade on this machine: multiply-accumulates and time of both halves."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from adln.bench.measuring import time_in_turns
from adln.bench.operations import count_operations
from adln.embedders.cascade import Cascade
from adln.evaluation.cascade import StageCosts
from adln.manifest import CROPS


def measure_costs(paths: Sequence[str | Path], *, rounds: int = 20) -> StageCosts:
    """Measure a cascade on this machine: one crop, one thread, both halves alternately.

    Args:
        paths: Files of one split export, shallowest first.
        rounds: Turns of each half, with five timed runs each.

    Raises:
        ModelFileError: See `Cascade`.
    """
    cascade = Cascade(paths)
    crop = np.random.default_rng(0).integers(0, 256, (1, *cascade.crop_size, 3), dtype=np.uint8)
    _, first_map = cascade.embed_first(crop)
    halves: dict[str, Callable[[], object]] = {
        "shallow": lambda: cascade.embed_first(crop),
        "deeper": lambda: cascade.embed_deeper(first_map),
    }
    times = time_in_turns(halves, rounds=rounds)
    shallow_macs, deeper_macs = count_macs(cascade)
    return StageCosts(
        depths=cascade.depths,
        shallow_macs=shallow_macs,
        deeper_macs=deeper_macs,
        shallow_ms=1e3 * times["shallow"].cpu(),
        deeper_ms=1e3 * times["deeper"].cpu(),
    )


def count_macs(cascade: Cascade) -> tuple[int, int]:
    """Multiply-accumulates for one crop: of the first file, and of all others together."""
    crop = np.zeros((1, *cascade.crop_size, 3), dtype=np.uint8)
    _, maps = cascade.shallow.embed_with_maps(crop)
    first = count_operations(cascade.shallow.model.path, {CROPS: crop}).macs
    others = 0
    for part in cascade.deeper:
        given = maps[part.starts_after]
        others += count_operations(part.model.path, given.arrays).macs
        maps = part.embed_with_maps(given)[1]
    return first, others
