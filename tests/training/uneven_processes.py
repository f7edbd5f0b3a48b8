"""Run by torchrun in test_several_processes.py: processes whose clocks and wishes differ.

They train twice: the first training is stopped, the second goes on from its state.
"""

import json
import sys
from pathlib import Path

import numpy as np

from adln.training import loop
from adln.training.data import TrainingData
from adln.training.loop import build_fabric, train
from adln.training.recipe import Batch, NetworkSettings, Recipe
from adln.training.schedule import Schedule

STOP_AFTER = 2  # steps


def main(folder: Path) -> None:
    recipe = Recipe(
        network=NetworkSettings(exits=(1,), imagenet=""),
        batch=Batch(persons=2, crops=2, height_px=32, width_px=16),
        schedule=Schedule(epochs=4, warmup_epochs=0),
    )
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 6)
    crops = rng.integers(0, 256, (len(labels), 32, 16, 3), dtype=np.uint8)
    fabric = build_fabric(recipe, device="cpu")
    fabric.launch()
    rank = fabric.global_rank
    # To the first process the state is always due, to the second never.
    loop.SAVE_EVERY_S = (0.0, 1e9)[rank]
    done = 0

    def should_stop() -> str | None:
        nonlocal done
        done += 1
        return "the second has enough" if rank == 1 and done == STOP_AFTER else None

    data = TrainingData(crops, labels, 8, "drawn")
    results = []
    for _ in ("stopped", "goes on"):
        outcome = train(recipe, data, folder, fabric=fabric, should_stop=should_stop)
        results.append(
            {
                "finished": outcome.finished,
                "reason": outcome.reason,
                "asked": done,
                "is_stored": (folder / loop.STATE_FILE).is_file(),
            }
        )
    (folder / f"rank{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
