"""Times several tasks in one run, alternately and in random order (Table 1).

A machine's clock rate drifts and other work comes and goes; tasks run alternately meet the same
conditions, so that ratios are reliable where milliseconds are not.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Times:
    """Durations of the runs of a task.

    Attributes:
        wall_s: (R,) elapsed time.
        cpu_s: (R,) CPU time of the process, all threads together.
    """

    wall_s: NDArray[np.float64]
    cpu_s: NDArray[np.float64]

    def wall(self, share: float = 0.5) -> float:
        """Quantile of the elapsed time; the median by default."""
        return float(np.quantile(self.wall_s, share))

    def cpu(self, share: float = 0.5) -> float:
        """Quantile of the CPU time; the median by default."""
        return float(np.quantile(self.cpu_s, share))


def time_in_turns(
    tasks: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    repeats: int = 5,
    seed: int = 0,
    on_progress: Callable[[int], object] = lambda _: None,
) -> dict[str, Times]:
    """Time tasks alternately, rounds * repeats times each.

    Args:
        tasks: functions to time, by name.
        rounds: turns of each task; each round has a new random order.
        repeats: timed runs per turn. One untimed run precedes them, to fill the caches with the
            task's own data.
        seed: of the order.
        on_progress: called with 1 after each turn.
    """
    order = random.Random(seed)
    names = list(tasks)
    wall: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            task = tasks[name]
            task()
            for _ in range(repeats):
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                task()
                cpu[name].append(time.process_time() - cpu_start)
                wall[name].append(time.perf_counter() - wall_start)
            on_progress(1)
    return {name: Times(np.array(wall[name]), np.array(cpu[name])) for name in tasks}
