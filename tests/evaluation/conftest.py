from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from adln.datasets.split import Split
from adln.embeddings import unit_length
from adln.evaluation.protocol import DepthResult, Evaluation
from adln.evaluation.ranking import evaluate_features

MakeEvaluation = Callable[..., Evaluation]


@pytest.fixture
def make_evaluation() -> MakeEvaluation:
    """Evaluate random vectors: persons as points of one space, depths as their noise."""

    def make(
        *, noises: Mapping[int, float], persons: int = 40, dim: int = 16, seed: int = 0
    ) -> Evaluation:
        rng = np.random.default_rng(seed)
        centres = unit_length(rng.standard_normal((persons, dim)))
        # How hard a picture is, at every depth.
        hardness = {name: rng.exponential(1.0, 3 * persons) for name in ("query", "gallery")}
        splits = {}
        for name in hardness:
            person_ids = np.repeat(np.arange(persons), 3)
            camera_ids = np.tile(np.arange(3), persons)
            paths = tuple(Path(f"{name}{at}.jpg") for at in range(3 * persons))
            splits[name] = Split(name, paths, person_ids, camera_ids)
        results = {}
        for depth, noise in noises.items():
            features = {
                name: unit_length(
                    centres[split.person_ids]
                    + noise
                    * hardness[name][:, np.newaxis]
                    * rng.standard_normal((len(split), dim))
                    / np.sqrt(dim)
                )
                for name, split in splits.items()
            }
            query, gallery = splits["query"], splits["gallery"]
            metrics = evaluate_features(
                (features["query"], *query.ids), (features["gallery"], *gallery.ids)
            )
            results[depth] = DepthResult(features["query"], features["gallery"], metrics, None)
        return Evaluation(splits["query"], splits["gallery"], results)

    return make
