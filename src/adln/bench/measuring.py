"""Times several tasks in one run, in turns and in random order.

Serves the comparison of cut networks with each other and with peers (Table 1's question, asked of
the clock). A machine's clock drifts and other work comes and goes; what runs in turns meets the
same conditions, so that ratios hold where milliseconds do not.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Times:
    """How long each run of a task took.

    Attributes:
        wall_s: (R,) seconds that passed.
        cpu_s: (R,) seconds that the process computed, all its threads together.
    """

    wall_s: NDArray[np.float64]
    cpu_s: NDArray[np.float64]

    def wall(self, share: float = 0.5) -> float:
        """Quantile of the seconds that passed; the median if left out."""
        return float(np.quantile(self.wall_s, share))

    def cpu(self, share: float = 0.5) -> float:
        """Quantile of the seconds computed; the median if left out."""
        return float(np.quantile(self.cpu_s, share))


def time_in_turns(
    tasks: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    repeats: int = 5,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Times]:
    """Time tasks in turns.

    Args:
        tasks: what to run, by name.
        rounds: how often each task has its turn; the order is drawn again for each round.
        repeats: timed runs in one turn. One untimed run goes before them, so that the task finds
            its own data in the caches and not those of the task before.
        seed: of the order.
        on_progress: called with 1 after each turn.

    Returns:
        name -> rounds * repeats times.
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
            if on_progress is not None:
                on_progress(1)
    return {name: Times(np.array(wall[name]), np.array(cpu[name])) for name in tasks}
