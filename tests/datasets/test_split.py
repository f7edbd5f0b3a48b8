from pathlib import Path

import numpy as np
import pytest

from adln.datasets.split import ReidDataset, Split, identity_labels, make_split
from adln.errors import DatasetError

PATHS = (Path("a.jpg"), Path("b.jpg"), Path("c.jpg"))


def three() -> Split:
    return make_split("train", PATHS, [7, -1, 7], [1, 2, 3])


def test_length_is_the_number_of_pictures() -> None:
    assert len(three()) == 3
    assert three().person_ids.dtype == three().camera_ids.dtype == np.int64


@pytest.mark.parametrize(
    ("persons", "cameras"), [([1, 2], [1, 2, 3]), ([1, 2, 3], [1]), ([], [1, 2, 3])]
)
def test_unequal_lengths_are_refused(persons: list[int], cameras: list[int]) -> None:
    with pytest.raises(DatasetError, match=r"'train'.*equal lengths"):
        make_split("train", PATHS, persons, cameras)


@pytest.mark.parametrize(
    "ids",
    [np.zeros(3, np.int32), np.zeros(3), np.zeros((3, 1), np.int64), [1, 2, 3]],
)
def test_ids_that_are_not_an_int64_vector_are_refused(ids: object) -> None:
    good = np.zeros(3, np.int64)
    with pytest.raises(DatasetError, match="person_ids must be a vector of int64"):
        Split("train", PATHS, ids, good)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="camera_ids must be a vector of int64"):
        Split("train", PATHS, good, ids)  # type: ignore[arg-type]


def test_select_takes_positions_in_their_order() -> None:
    chosen = three().select([2, 0])
    assert chosen.name == "train"
    assert chosen.paths == (Path("c.jpg"), Path("a.jpg"))
    np.testing.assert_array_equal(chosen.camera_ids, [3, 1])


def test_select_takes_a_mask() -> None:
    split = three()
    assert split.select(split.person_ids >= 0).paths == (Path("a.jpg"), Path("c.jpg"))


def test_select_of_nothing_is_an_empty_split() -> None:
    assert len(three().select([])) == 0


@pytest.mark.parametrize("wrong", [[3], np.array([True, False])])
def test_select_outside_the_split_is_refused(wrong: list[int]) -> None:
    with pytest.raises(DatasetError, match="has 3 pictures"):
        three().select(wrong)


def test_dataset_gives_its_splits_in_order() -> None:
    train, query, gallery = (make_split(name, (), [], []) for name in ("t", "q", "g"))
    dataset = ReidDataset("some", Path("root"), train, query, gallery)
    assert [split.name for split in dataset.splits] == ["t", "q", "g"]
    assert dataset.notice == ""


def test_identity_labels_count_from_zero_and_lead_back_to_the_ids() -> None:
    person_ids = np.array([30, 2, 30, -1, 2], dtype=np.int64)
    labels, ids = identity_labels(person_ids)
    np.testing.assert_array_equal(labels, [2, 1, 2, 0, 1])
    np.testing.assert_array_equal(ids, [-1, 2, 30])
    np.testing.assert_array_equal(ids[labels], person_ids)
    assert labels.dtype == ids.dtype == np.int64


def test_identity_labels_of_nobody_are_empty() -> None:
    labels, ids = identity_labels(np.zeros(0, np.int64))
    assert labels.shape == ids.shape == (0,)
