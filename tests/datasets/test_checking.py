import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from adln.datasets.catalogue import open_dataset
from adln.datasets.checking import (
    KNOWN_SIZES,
    SplitCounts,
    find_corrupt,
    inspect_dataset,
    look_alike_note,
)
from adln.datasets.market1501 import read_market1501
from adln.datasets.split import ReidDataset, Split, make_split
from adln.errors import SettingsError

SavePicture = Callable[[Path], Path]


def split(name: str, folder: Path, views: Sequence[tuple[int, int]]) -> Split:
    """Pictures that are there, one for each (person, camera)."""
    paths = [folder / f"{name}{number}.jpg" for number in range(len(views))]
    for path in paths:
        path.touch()
    return make_split(name, paths, [p for p, _ in views], [c for _, c in views])


def dataset_of(
    folder: Path,
    train: Sequence[tuple[int, int]] = ((1, 1), (1, 2)),
    query: Sequence[tuple[int, int]] = ((5, 1),),
    gallery: Sequence[tuple[int, int]] = ((5, 2),),
) -> ReidDataset:
    return ReidDataset(
        "folder",
        folder,
        split("train", folder, train),
        split("query", folder, query),
        split("gallery", folder, gallery),
    )


def test_a_sound_data_set_has_no_problems_and_is_counted(market: Path) -> None:
    report = inspect_dataset(read_market1501(market))
    assert report.problems == ()
    assert report.is_fine
    assert report.splits == (
        SplitCounts("train", images=4, persons=2, cameras=4),
        SplitCounts("query", images=2, persons=2, cameras=2),
        SplitCounts("gallery", images=4, persons=3, cameras=3),
    )
    assert (report.junk_images, report.distractor_images) == (1, 1)
    assert report.queries_without_match == 0


def test_oddities_of_market_are_remarked_not_complained_of(market: Path) -> None:
    remarks = " ".join(inspect_dataset(read_market1501(market)).remarks)
    assert "1 image of person -1 (junk)" in remarks
    assert "1 gallery image is a distractor:" in remarks
    assert "2 names end in .jpg.jpg" in remarks
    assert "your own data set" in remarks


def test_folder_that_bears_the_name_of_the_original_must_have_its_size(market: Path) -> None:
    original = market.rename(market.parent / "Market-1501-v15.09.15")
    (problem,) = inspect_dataset(read_market1501(original)).problems
    assert "train images 4 instead of 12,936" in problem
    assert "gallery images 4 instead of 15,913" in problem


def test_only_what_shares_nothing_but_the_layout_is_said_to_look_alike(
    market: Path, tmp_path: Path
) -> None:
    assert "layout of Market-1501, but not its size" in look_alike_note(read_market1501(market))
    original = market.rename(market.parent / "Market-1501-v15.09.15")
    assert look_alike_note(read_market1501(original)) == ""
    assert look_alike_note(dataset_of(tmp_path)) == ""


def test_original_size_is_confirmed_and_the_count_of_the_paper_corrected(tmp_path: Path) -> None:
    sizes = KNOWN_SIZES["market1501"]
    picture = tmp_path / "one.jpg"
    picture.touch()

    def of_size(name: str, images: int, first: int, persons: int) -> Split:
        ids = first + np.arange(images) % persons
        paths = [tmp_path / name / str(number) for number in range(images)]
        return make_split(name, paths, ids.tolist(), (np.arange(images) % 6).tolist())

    dataset = ReidDataset(
        "market1501",
        tmp_path / "Market-1501-v15.09.15",
        of_size("train", sizes.train_images, 1, sizes.train_persons),
        of_size("query", sizes.query_images, 1000, sizes.query_persons),
        of_size("gallery", sizes.gallery_images, 1000, 751),
    )
    report = inspect_dataset(dataset)
    assert not any("instead of" in problem for problem in report.problems)
    assert "All counts are those of the original Market-1501" in report.remarks[0]
    assert "19,364" in report.remarks[0]


def test_identities_without_a_second_camera_are_queries_without_a_match(tmp_path: Path) -> None:
    dataset = dataset_of(
        tmp_path, query=[(5, 1), (6, 1), (7, 3)], gallery=[(5, 2), (6, 1), (6, 1), (8, 3)]
    )
    report = inspect_dataset(dataset)
    assert report.queries_without_match == 2
    (problem,) = report.problems
    assert "2 of 3 queries have no match" in problem
    assert "2 persons, ids 6, 7" in problem


def test_training_persons_seen_by_one_camera_are_remarked(tmp_path: Path) -> None:
    report = inspect_dataset(dataset_of(tmp_path, train=[(1, 1), (1, 1), (2, 1), (2, 2)]))
    assert report.is_fine
    assert any(
        "1 person of the train split seen by one camera only (ids 1)" in remark
        for remark in report.remarks
    )


def test_persons_in_train_and_test_are_a_problem(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, train=[(1, 1), (5, 1), (9, 2)], gallery=[(5, 2), (9, 2)])
    (problem,) = inspect_dataset(dataset).problems
    assert "2 persons in both the train and the test splits (ids 5, 9)" in problem


@pytest.mark.parametrize(
    ("empty", "message"),
    [
        ({"query": []}, "The query split is empty, the gallery split is not"),
        ({"gallery": []}, "The gallery split is empty, the query split is not"),
        ({"train": [], "query": [], "gallery": []}, "All splits are empty"),
    ],
)
def test_empty_split_is_a_problem(
    tmp_path: Path, empty: dict[str, list[tuple[int, int]]], message: str
) -> None:
    assert message in inspect_dataset(dataset_of(tmp_path, **empty)).problems[0]


def test_a_set_only_to_train_or_only_to_evaluate_is_fine(tmp_path: Path) -> None:
    assert inspect_dataset(dataset_of(tmp_path, query=[], gallery=[])).is_fine
    assert inspect_dataset(dataset_of(tmp_path, train=[])).is_fine


def test_listed_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    dataset.query.paths[0].unlink()
    (problem,) = inspect_dataset(dataset).problems
    assert "1 image listed but not there" in problem
    assert "query0.jpg" in problem


def test_unreadable_names_are_listed(market: Path, save_picture: SavePicture) -> None:
    for number in range(10):
        save_picture(market / "query" / f"holiday{number}.jpg")
    (problem,) = inspect_dataset(read_market1501(market)).problems
    assert "10 images left out because the name does not give person and camera" in problem
    assert "holiday0.jpg" in problem
    assert "and 2 more" in problem


def test_the_same_picture_with_simple_and_doubled_suffix_is_a_problem(
    market: Path, save_picture: SavePicture
) -> None:
    save_picture(market / "query" / "1488_c2s3_065527_00.jpg")
    (problem,) = inspect_dataset(read_market1501(market)).problems
    assert "1 image twice" in problem
    assert "1488_c2s3_065527_00.jpg.jpg" in problem


def test_files_listed_twice_are_a_problem(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    doubled = dataclasses.replace(dataset, gallery=dataset.gallery.select([0, 0]))
    (problem,) = inspect_dataset(doubled).problems
    assert "The gallery split lists 1 image more than once" in problem


def test_a_file_of_two_persons_is_a_problem_whatever_its_path(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    roundabout = tmp_path / ".." / tmp_path.name / dataset.train.paths[0].name
    other = make_split("gallery", [roundabout, *dataset.gallery.paths], [8, 5], [1, 2])
    (problem,) = inspect_dataset(dataclasses.replace(dataset, gallery=other)).problems
    assert "1 image listed under more than one person" in problem
    assert "train0.jpg" in problem


def test_corrupt_and_truncated_files_are_found_and_named(
    market: Path, save_picture: SavePicture
) -> None:
    dataset = open_dataset(market)
    truncated, text = dataset.gallery.paths[0], dataset.train.paths[1]
    truncated.write_bytes(truncated.read_bytes()[:-40])
    text.write_text("no picture")
    finished: list[int] = []
    paths = [path for part in dataset.splits for path in part.paths]
    messages = find_corrupt(paths, on_progress=finished.append)
    assert [message.split(":")[0] for message in messages] == [str(text), str(truncated)]
    assert sum(finished) == len(paths)
    (problem,) = inspect_dataset(dataset, corrupt=messages).problems
    assert "2 images cannot be decoded" in problem
    assert str(truncated) in problem


def test_sound_pictures_are_not_called_corrupt(market: Path) -> None:
    assert find_corrupt(read_market1501(market).gallery.paths, workers=3) == ()


def test_workers_below_one_are_refused() -> None:
    with pytest.raises(SettingsError, match="workers"):
        find_corrupt([], workers=0)


def test_pictures_that_lie_elsewhere_are_a_problem_and_are_named(
    market: Path, save_picture: SavePicture
) -> None:
    save_picture(market / "bounding_box_train/2024/0002_c1s1_000001_01.jpg")
    report = inspect_dataset(read_market1501(market))
    (problem,) = [
        text for text in report.problems if "left out because this layout has no pictures" in text
    ]
    assert "1 image" in problem
    assert "bounding_box_train/2024/0002_c1s1_000001_01.jpg" in problem
