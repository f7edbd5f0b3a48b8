from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adln.crops import read_crop
from adln.datasets.loading import iterate_crops, load_crops
from adln.errors import ImageError, SettingsError

SIZE: dict[str, Any] = {"height_px": 8, "width_px": 4}


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    listed = [tmp_path / f"{number:03d}.png" for number in range(70)]
    for path in listed:
        Image.fromarray(generator.integers(0, 256, (9, 6, 3), dtype=np.uint8)).save(path)
    return listed


@pytest.mark.parametrize("workers", [1, 3])
def test_loaded_crops_are_in_the_order_of_the_paths(paths: list[Path], workers: int) -> None:
    loaded = load_crops(paths, workers=workers, **SIZE)
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, [read_crop(path, **SIZE) for path in paths])


def test_default_size_is_that_of_the_network(paths: list[Path]) -> None:
    assert load_crops(paths[:2]).shape == (2, 256, 128, 3)


def test_progress_adds_up_to_the_number_of_files(paths: list[Path]) -> None:
    finished: list[int] = []
    load_crops(paths, on_progress=finished.append, **SIZE)
    assert sum(finished) == 70
    assert len(finished) > 1


def test_no_paths_give_no_crops() -> None:
    assert load_crops([], **SIZE).shape == (0, 8, 4, 3)
    assert list(iterate_crops([], batch_size=2)) == []


@pytest.mark.parametrize("batch_size", [1, 16, 70, 200])
def test_batches_joined_are_all_crops_in_order(paths: list[Path], batch_size: int) -> None:
    batches = list(iterate_crops(paths, batch_size=batch_size, workers=3, **SIZE))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    np.testing.assert_array_equal(np.concatenate(batches), load_crops(paths, **SIZE))


def test_batches_do_not_share_memory(paths: list[Path]) -> None:
    first, second, *_ = iterate_crops(paths, batch_size=10, **SIZE)
    assert not np.shares_memory(first, second)


def test_iteration_may_be_left_early(paths: list[Path]) -> None:
    batches = iterate_crops(paths, batch_size=4, **SIZE)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert next(batches, None) is None


def test_corrupt_image_names_the_file(paths: list[Path]) -> None:
    paths[40].write_bytes(paths[40].read_bytes()[:60])
    with pytest.raises(ImageError, match=r"040\.png"):
        load_crops(paths, **SIZE)
    with pytest.raises(ImageError, match=r"040\.png"):
        list(iterate_crops(paths, batch_size=8, **SIZE))


def test_batches_before_a_corrupt_image_are_still_given(paths: list[Path]) -> None:
    paths[40].write_bytes(b"")
    batches = iterate_crops(paths, batch_size=20, **SIZE)
    assert [len(next(batches)) for _ in range(2)] == [20, 20]
    with pytest.raises(ImageError, match=r"040\.png: the file is empty"):
        next(batches)


def test_missing_file_is_named(paths: list[Path]) -> None:
    paths[3].unlink()
    with pytest.raises(ImageError, match=r"003\.png: there is no such picture file"):
        load_crops(paths, **SIZE)


def test_sizes_below_one_are_refused_at_once(paths: list[Path]) -> None:
    with pytest.raises(SettingsError, match="workers"):
        load_crops(paths, workers=0)
    with pytest.raises(SettingsError, match="batch_size"):
        iterate_crops(paths, batch_size=0)
    with pytest.raises(SettingsError, match="workers"):
        iterate_crops(paths, batch_size=1, workers=0)
