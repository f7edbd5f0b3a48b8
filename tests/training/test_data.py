"""The training split in memory."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adln.datasets.split import Split
from adln.errors import DatasetError, ImageError
from adln.training.data import UNLABELLED, join_splits, load_training_data


def split_of(folder: Path, persons: list[int]) -> Split:
    paths = []
    for index, person in enumerate(persons):
        path = folder / f"{index}.png"
        Image.new("RGB", (64, 128), (person, 0, 0)).save(path)
        paths.append(path)
    ids = np.array(persons, dtype=np.int64)
    return Split("train", tuple(paths), ids, np.zeros_like(ids))


def test_crops_and_labels_are_in_the_order_of_the_split(tmp_path: Path) -> None:
    seen: list[int] = []
    split = split_of(tmp_path, [70, 3, 70])
    data = load_training_data(split, height_px=32, width_px=16, on_progress=seen.append)
    assert data.crops.shape == (3, 32, 16, 3)
    assert data.crops[:, 0, 0, 0].tolist() == [70, 3, 70]
    assert data.labels.tolist() == [1, 0, 1]
    assert data.num_classes == 2
    assert sum(seen) == 3


def test_the_fingerprint_changes_with_persons_and_files(tmp_path: Path) -> None:
    def fingerprint(split: Split) -> str:
        return load_training_data(split, height_px=16, width_px=16).fingerprint

    split = split_of(tmp_path, [1, 2, 1])
    assert fingerprint(split) == fingerprint(split)
    assert fingerprint(split) != fingerprint(split_of(tmp_path, [1, 2, 2]))
    assert fingerprint(split) != fingerprint(split.select([0, 1]))


def test_other_pictures_of_the_same_names_are_other_data(tmp_path: Path) -> None:
    split = split_of(tmp_path, [1, 2, 1])
    # Linux allows a name that is not UTF-8, such as one unpacked from an archive of Windows.
    latin = tmp_path / os.fsdecode(b"caf\xe9.png")
    split.paths[0].rename(latin)
    split = replace(split, paths=(latin, *split.paths[1:]))
    before = load_training_data(split, height_px=16, width_px=16)
    Image.new("RGB", (64, 128), (1, 0, 9)).save(split.paths[2])
    after = load_training_data(split, height_px=16, width_px=16)
    assert before.fingerprint == after.fingerprint
    assert before.pictures != after.pictures


def test_an_empty_split_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"training split is empty.*adln data check"):
        load_training_data(split_of(tmp_path, []), height_px=32, width_px=16)


def test_a_single_person_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="only person 5"):
        load_training_data(split_of(tmp_path, [5, 5]), height_px=32, width_px=16)


def test_a_corrupt_picture_is_named(tmp_path: Path) -> None:
    split = split_of(tmp_path, [1, 2])
    split.paths[1].write_bytes(b"not a picture")
    with pytest.raises(ImageError, match=r"1\.png"):
        load_training_data(split, height_px=32, width_px=16)


def numbered(name: str, persons: list[int], cameras: list[int]) -> Split:
    paths = tuple(Path(f"{name}/{index}.png") for index in range(len(persons)))
    return Split("train", paths, np.array(persons, np.int64), np.array(cameras, np.int64))


def test_persons_and_cameras_of_several_data_sets_are_kept_apart() -> None:
    a, b = numbered("a", [7, 7, 9], [1, 2, 1]), numbered("b", [7, 8], [1, 1])
    joined = join_splits([a, b])
    assert joined.paths == a.paths + b.paths
    assert joined.person_ids.tolist() == [0, 0, 1, 2, 3]
    assert joined.camera_ids.tolist() == [0, 1, 0, 2, 2]


def test_one_data_set_stays_as_it_is() -> None:
    only = numbered("a", [7, 9], [1, 2])
    assert join_splits([only]) is only


def test_unlabelled_pictures_follow_the_persons_and_change_the_fingerprint(
    tmp_path: Path,
) -> None:
    split = split_of(tmp_path, [3, 3, 5])
    path = tmp_path / "free.png"
    Image.new("RGB", (64, 128), (9, 0, 0)).save(path)
    plain = load_training_data(split, height_px=32, width_px=16)
    more = load_training_data(split, height_px=32, width_px=16, unlabelled=[path])
    assert more.labels.tolist() == [0, 0, 1, UNLABELLED]
    assert more.num_classes == 2
    assert more.crops[3, 0, 0, 0] == 9
    assert more.fingerprint != plain.fingerprint
