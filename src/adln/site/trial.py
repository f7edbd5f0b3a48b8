"""Measures the training speed of a machine by a few discarded steps."""

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
_LOOKING = 0.3  # share of an epoch's time: a lesson embeds all crops before it


def trial_step_s(
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    *,
    teacher: LiveTeacher | None = None,
    lesson: Lesson | None = None,
) -> float:
    """Seconds per step of a training, not counting the first, which warms up.

    The recipe's schedule does not matter. The lesson's work before an epoch is included. The folder
    is for temporary files, and is deleted at the end.
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
