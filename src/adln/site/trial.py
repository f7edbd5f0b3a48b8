"""How fast a machine learns: a few steps of the training, which are thrown away."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

from adln.training.data import TrainingData
from adln.training.lesson import Lesson
from adln.training.loop import build_fabric, train
from adln.training.recipe import Recipe
from adln.training.teacher import LiveTeacher

_STEPS = 3
_LOOKING = 0.3  # of the time of an epoch: before it a lesson has all crops embedded


def trial_step_s(
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    *,
    teacher: LiveTeacher | None = None,
    lesson: Lesson | None = None,
) -> float:
    """Seconds that a step takes; the first step, which warms up, does not count.

    Args:
        recipe: of the training; its schedule does not matter.
        data: of the training.
        folder: for what is between; deleted in the end.
        teacher: of the training.
        lesson: of the training; what it looks at before an epoch is part of the steps.
    """
    moments: list[float] = []

    def check() -> str | None:
        moments.append(time.monotonic())
        return "measured" if len(moments) > _STEPS else None

    shutil.rmtree(folder, ignore_errors=True)
    recipe = replace(recipe, schedule=replace(recipe.schedule, epochs=_STEPS + 2))
    fabric = build_fabric(recipe)
    try:
        train(
            recipe, data, folder, fabric=fabric, teacher=teacher, lesson=lesson, should_stop=check
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    step_s = max(1e-3, (moments[-1] - moments[0]) / (len(moments) - 1))
    return step_s if lesson is None else (1 + _LOOKING) * step_s
