"""How hard the drawn people are for colours alone, and how quickly they are drawn.

Draws a set, ranks the gallery by colour histograms (a baseline that knows no shapes) and prints
Rank-1 and mAP. A trained network must do far better, or the set teaches nothing.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.datasets.split import ReidDataset
from adln.evaluation.ranking import RetrievalMetrics, evaluate_features
from adln.scenes.synthetic import Plan, draw_dataset, num_pictures

Describe = Callable[[Image.Image], NDArray[np.float64]]


def rgb_histogram(crop: Image.Image) -> NDArray[np.float64]:
    """Count colours in 8x8x8 cells; gives (512,) float64."""
    cells = (np.asarray(crop).reshape(-1, 3) >> 5) @ np.array([64, 8, 1])
    return np.bincount(cells, minlength=512).astype(np.float64)


def striped_hsv_histogram(crop: Image.Image) -> NDArray[np.float64]:
    """Count hue, saturation and value in 8x4x4 cells of 8 stripes, borders left out: (1024,)."""
    middle = np.asarray(crop.convert("HSV"))[:, 10:-10].astype(np.int64)
    cells = (middle[..., 0] >> 5) * 16 + (middle[..., 1] >> 6) * 4 + (middle[..., 2] >> 6)
    stripes = np.array_split(cells, 8)
    counts = [np.bincount(stripe.ravel(), minlength=128) for stripe in stripes]
    return np.concatenate(counts).astype(np.float64)


BASELINES: dict[str, Describe] = {
    "RGB histogram 8x8x8": rgb_histogram,
    "HSV histogram, 8 stripes": striped_hsv_histogram,
}


def describe_all(paths: Sequence[Path], describe: Describe) -> NDArray[np.float64]:
    """Give features (N, D) float64 of unit length; their cosine is the Bhattacharyya overlap."""
    rows = []
    for path in paths:
        with Image.open(path) as image:
            rows.append(np.sqrt(describe(image.convert("RGB"))))
    features: NDArray[np.float64] = np.stack(rows)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features


def retrieve(dataset: ReidDataset, describe: Describe) -> RetrievalMetrics:
    """Rank the gallery for each query by one colour description."""
    return evaluate_features(
        (describe_all(dataset.query.paths, describe), *dataset.query.ids),
        (describe_all(dataset.gallery.paths, describe), *dataset.gallery.ids),
    )


def main() -> None:
    """Draw, rank, and print a small table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test-persons", type=int, default=100)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--crops-per-camera", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    plan = Plan(
        num_train_persons=2,
        num_test_persons=options.test_persons,
        num_cameras=options.cameras,
        crops_per_camera=options.crops_per_camera,
        seed=options.seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        # CPU time of the whole process: other work on the machine does not count.
        begun = time.process_time()
        dataset = draw_dataset(Path(folder) / "people", plan)
        spent_s = time.process_time() - begun
        crops = num_pictures(plan)
        click.echo(f"drawn      {crops:,} crops, {crops / spent_s:,.0f} a second of one core")
        click.echo(
            f"test       {len(dataset.query):,} queries, {len(dataset.gallery):,} in gallery"
        )
        for name, describe in BASELINES.items():
            metrics = retrieve(dataset, describe)
            click.echo(f"{name:<26} Rank-1 {metrics.rank1:6.1%}  mAP {metrics.mean_ap:6.1%}")


if __name__ == "__main__":
    main()
