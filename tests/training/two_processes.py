"""Run by torchrun in test_several_processes.py: trains and tells what this process saw."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adln.training import loop
from adln.training.data import TrainingData
from adln.training.loop import build_fabric, train
from adln.training.recipe import Batch, NetworkSettings, Recipe
from adln.training.schedule import Schedule


def main(folder: Path) -> None:
    recipe = Recipe(
        network=NetworkSettings(exits=(1, 2), imagenet=""),
        batch=Batch(persons=2, crops=2, height_px=64, width_px=32),
        schedule=Schedule(epochs=1, warmup_epochs=0),
    )
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 4)
    crops = rng.integers(0, 256, (len(labels), 64, 32, 3), dtype=np.uint8)
    data = TrainingData(crops, labels, 6, "drawn")
    seen: list[list[int]] = []
    modules: list[loop.StepModule] = []
    original = loop.StepModule.forward

    def forward(
        self: loop.StepModule,
        crops: torch.Tensor,
        labels: torch.Tensor,
        *more: Any,
    ) -> dict[str, torch.Tensor]:
        seen.append(labels.tolist())
        modules.append(self)
        return original(self, crops, labels, *more)

    loop.StepModule.forward = forward  # type: ignore[method-assign]
    fabric = build_fabric(recipe, device="cpu")
    train(recipe, data, folder, fabric=fabric)
    result = {
        "world_size": fabric.world_size,
        "labels": seen,
        "weights": [p.double().sum().item() for p in modules[-1].parameters()],
    }
    (folder / f"rank{fabric.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
