"""The gate lets true files pass and stops all others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adln.datasets.catalogue import open_dataset
from adln.embeddings import unit_length
from adln.errors import ParityError
from adln.export.parity import (
    measure_accuracy,
    measure_parity,
    require_accuracy,
    require_parity,
)
from adln.manifest import Accuracy, Parity

CROPS = np.random.default_rng(0).integers(0, 256, (40, 8, 4, 3), dtype=np.uint8)
GOOD = Parity(depth=2, batch_size=7, crops=40, least=1.0, mean=1.0, first_percentile=1.0)
SAME = Accuracy(dataset="tiny", depth=2, rank1=0.8, mean_ap=0.6, torch_rank1=0.8, torch_mean_ap=0.6)


class FakeEmbedder:
    """Embeds a crop by its pixels, plus noise."""

    depths = (2,)
    dim = 96
    crop_size = (8, 4)

    def __init__(self, noise: float = 0.0, length: float = 1.0, fails: bool = False) -> None:
        self.noise, self.length, self.fails = noise, length, fails
        self.rng = np.random.default_rng(1)

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        if self.fails:
            raise RuntimeError("Got invalid dimensions for input")
        features = crops.reshape(len(crops), -1).astype(np.float32) - 128
        features += self.noise * 128 * self.rng.standard_normal(features.shape)
        return {2: np.float32(self.length) * unit_length(features)}


def test_the_same_embeddings_have_cosine_1_at_every_batch_size() -> None:
    rows = measure_parity(FakeEmbedder(), lambda _: FakeEmbedder(), CROPS)
    assert [row.batch_size for row in rows] == [1, 7, 32]
    assert all(row.least > 1 - 1e-6 and row.crops == 40 for row in rows)


def test_one_bad_batch_size_is_seen() -> None:
    rows = measure_parity(FakeEmbedder(), lambda size: FakeEmbedder(noise=float(size == 7)), CROPS)
    with pytest.raises(ParityError, match="batch 7: least cosine"):
        require_parity(rows, "fp32")


def test_embeddings_must_have_length_1() -> None:
    with pytest.raises(ParityError, match="length"):
        measure_parity(FakeEmbedder(), lambda _: FakeEmbedder(length=1.01), CROPS)


def test_a_file_that_does_not_run_is_refused() -> None:
    with pytest.raises(ParityError, match="fails at batch 1: Got invalid dimensions"):
        measure_parity(FakeEmbedder(), lambda _: FakeEmbedder(fails=True), CROPS)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ParityError, match="nan"):
        require_parity([replace(GOOD, least=float("nan"))], "fp32")


@pytest.mark.parametrize(
    ("precision", "row", "passes"),
    [
        ("fp32", replace(GOOD, least=0.9999), True),
        ("fp32", replace(GOOD, least=0.99989), False),
        ("fp16", replace(GOOD, least=0.999), True),
        ("fp16", replace(GOOD, least=0.9989), False),
        ("int8", replace(GOOD, least=0.5, mean=0.99, first_percentile=0.98), True),
        ("int8", replace(GOOD, mean=0.9899), False),
        ("int8", replace(GOOD, first_percentile=0.979), False),
    ],
)
def test_each_precision_has_its_tolerance(precision: str, row: Parity, passes: bool) -> None:
    if passes:
        require_parity([row], precision)  # type: ignore[arg-type]
        return
    with pytest.raises(ParityError, match="Res2"):
        require_parity([GOOD, row], precision)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "words"), [("rank1", "Rank-1"), ("mean_ap", "mAP")])
def test_half_a_point_may_be_lost_and_no_more(name: str, words: str) -> None:
    value = getattr(SAME, name)
    require_accuracy([replace(SAME, **{name: value - 0.0049})])
    require_accuracy([replace(SAME, **{name: value + 0.1})])
    with pytest.raises(ParityError, match=words):
        require_accuracy([replace(SAME, **{name: value - 0.0051})])


def test_accuracy_is_measured_for_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for person in (1, 2, 3):
        picture = Image.fromarray(rng.integers(0, 256, (8, 4, 3), dtype=np.uint8))
        for split, camera in (("query", 1), ("gallery", 2)):
            path = tmp_path / split / f"p{person}" / f"c{camera}_1.png"
            path.parent.mkdir(parents=True)
            picture.save(path)
    seen: list[int] = []
    (row,) = measure_accuracy(
        FakeEmbedder(), FakeEmbedder(noise=50.0), open_dataset(tmp_path), on_progress=seen.append
    )
    assert (row.torch_rank1, row.torch_mean_ap) == (1.0, 1.0)
    assert row.mean_ap < 1
    assert sum(seen) == 12
    with pytest.raises(ParityError):
        require_accuracy([row])
