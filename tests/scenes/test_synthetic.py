import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adln.datasets.split import ReidDataset
from adln.errors import DatasetError
from adln.scenes.drawn_people import describe_person
from adln.scenes.synthetic import Plan, contact_sheet, draw_dataset, num_pictures

SMALL = Plan(
    num_train_persons=3,
    num_test_persons=3,
    num_distractors=2,
    num_junk=2,
    num_cameras=2,
    crops_per_camera=2,
    seed=5,
)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*.jpg"))}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> ReidDataset:
    return draw_dataset(tmp_path_factory.mktemp("drawn") / "people", SMALL)


def test_same_seed_gives_the_same_bytes(drawn: ReidDataset, tmp_path: Path) -> None:
    again = draw_dataset(tmp_path / "again", SMALL)
    assert contents(again.root) == contents(drawn.root)


def test_another_seed_gives_other_pictures(drawn: ReidDataset, tmp_path: Path) -> None:
    other = draw_dataset(tmp_path / "other", replace(SMALL, seed=6))
    theirs, ours = contents(other.root), contents(drawn.root)
    shared = theirs.keys() & ours.keys()
    assert shared
    assert all(theirs[name] != ours[name] for name in shared)


def test_a_picture_does_not_depend_on_how_many_are_drawn(
    drawn: ReidDataset, tmp_path: Path
) -> None:
    larger = draw_dataset(tmp_path / "larger", replace(SMALL, crops_per_camera=3))
    train = {k: v for k, v in contents(drawn.root).items() if k.startswith("bounding_box_train")}
    assert train.items() <= contents(larger.root).items()


def test_a_person_does_not_depend_on_the_others() -> None:
    assert describe_person(5, 7) == describe_person(5, 7)
    assert describe_person(5, 7) != describe_person(5, 8)


def test_folders_and_names_are_those_of_market1501(drawn: ReidDataset) -> None:
    names = contents(drawn.root)
    assert {Path(name).parent.name for name in names} == {
        "bounding_box_train",
        "bounding_box_test",
        "query",
    }
    pattern = re.compile(r"(-1|\d{4})_c[1-2]s\d_\d{6}_\d{2}\.jpg")
    assert all(pattern.fullmatch(Path(name).name) for name in names)
    assert len(names) == num_pictures(SMALL)


def test_pictures_are_64_by_128_jpegs(drawn: ReidDataset) -> None:
    for path in drawn.root.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (64, 128), "RGB")


def test_training_and_test_persons_are_disjoint(drawn: ReidDataset) -> None:
    tested = set(drawn.query.person_ids) | set(drawn.gallery.person_ids)
    assert not set(drawn.train.person_ids) & tested


def test_there_is_one_query_per_person_and_camera(drawn: ReidDataset) -> None:
    pairs = list(zip(drawn.query.person_ids, drawn.query.camera_ids, strict=True))
    assert len(pairs) == len(set(pairs))


def test_every_query_has_a_match_under_another_camera(drawn: ReidDataset) -> None:
    gallery = drawn.gallery
    for person, camera in zip(drawn.query.person_ids, drawn.query.camera_ids, strict=True):
        assert ((gallery.person_ids == person) & (gallery.camera_ids != camera)).any()


def test_distractors_and_junk_are_in_the_gallery_folder_only(drawn: ReidDataset) -> None:
    labels = {
        folder.name: [p.name.split("_")[0] for p in folder.glob("*.jpg")]
        for folder in drawn.root.iterdir()
        if folder.is_dir()
    }
    assert labels["bounding_box_test"].count("0000") == SMALL.num_distractors
    assert labels["bounding_box_test"].count("-1") == SMALL.num_junk
    assert not {"0000", "-1"} & {*labels["query"], *labels["bounding_box_train"]}


def test_an_interrupted_drawing_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_dataset(tmp_path / "people", SMALL, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_redrawing_keeps_the_earlier_one(tmp_path: Path) -> None:
    root = tmp_path / "people"
    draw_dataset(root, SMALL)
    before = contents(root)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_dataset(root, replace(SMALL, seed=6), on_progress=stop)
    assert contents(root) == before


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path: Path) -> None:
    mine = tmp_path / "holiday.txt"
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(DatasetError, match="new or empty folder"):
        draw_dataset(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == [mine]


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    assert len(draw_dataset(root, SMALL).train) > 0


def test_the_same_plan_is_not_drawn_twice(drawn: ReidDataset) -> None:
    finished: list[int] = []
    draw_dataset(drawn.root, SMALL, on_progress=finished.append)
    assert finished == []


def test_progress_counts_every_picture(tmp_path: Path) -> None:
    finished: list[int] = []
    draw_dataset(tmp_path / "people", SMALL, on_progress=finished.append)
    assert sum(finished) == num_pictures(SMALL)


@pytest.mark.parametrize("field", ["num_train_persons", "num_cameras", "seed"])
def test_a_number_out_of_range_is_named(field: str) -> None:
    with pytest.raises(DatasetError, match=field):
        replace(SMALL, **{field: -1})


def test_contact_sheet_has_a_row_per_person_and_a_column_per_camera() -> None:
    sheet = contact_sheet(SMALL, persons=(1, 2), scale=1)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * (128 + 4) + 4, 2 * (64 + 4) + 4, 3)
