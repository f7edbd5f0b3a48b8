"""VIPeR, PRID 2011, GRID and iLIDS-VID as small stand-ins."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adln.datasets.catalogue import open_dataset, recognise
from adln.datasets.checking import inspect_dataset
from adln.datasets.split import Split
from adln.datasets.two_cameras import read_two_cameras
from adln.errors import DatasetError

SavePicture = Callable[[Path], Path]


def rows(split: Split) -> list[tuple[str, int, int]]:
    ids = zip(split.paths, split.person_ids, split.camera_ids, strict=True)
    return [(path.name, int(person), int(camera)) for path, person, camera in ids]


@pytest.fixture
def viper(tmp_path: Path, save_picture: SavePicture) -> Path:
    root = tmp_path / "viper-like" / "VIPeR"
    for person in (0, 1, 872):
        save_picture(root / f"cam_a/{person:03d}_45.bmp")
        save_picture(root / f"cam_b/{person:03d}_135.bmp")
    return root


@pytest.fixture
def prid(tmp_path: Path, save_picture: SavePicture) -> Path:
    """Persons 1 and 200 are shared; 201 of camera A is not 201 of camera B."""
    root = tmp_path / "prid_2011"
    for camera, persons in (("cam_a", (1, 200, 201)), ("cam_b", (1, 200, 201, 749))):
        for person in persons:
            save_picture(root / f"single_shot/{camera}/person_{person:04d}.png")
            for frame in (1, 2, 3):
                save_picture(root / f"multi_shot/{camera}/person_{person:04d}/{frame:04d}.png")
    return root


@pytest.fixture
def grid(tmp_path: Path, save_picture: SavePicture) -> Path:
    root = tmp_path / "underground_reid"
    for name in (
        "probe/0001_1_25004_107_32_106_221.jpeg",
        "probe/0250_7_25004_107_32_106_221.jpeg",
        "gallery/0000_5_25008_127_14_72_179.jpeg",
        "gallery/0000_6_25008_127_14_72_179.jpeg",
        "gallery/0001_2_25023_116_134_128_330.jpeg",
        "gallery/0250_6_25023_116_134_128_330.jpeg",
        "images/0001_1_25004.jpeg",
    ):
        save_picture(root / name)
    return root


@pytest.fixture
def ilids(tmp_path: Path, save_picture: SavePicture) -> Path:
    root = tmp_path / "iLIDS-VID"
    for camera in ("cam1", "cam2"):
        for person in (1, 319):
            name = f"{camera}_person{person:03d}"
            folder = f"{camera}/person{person:03d}"
            save_picture(root / f"i-LIDS-VID/images/{folder}/{name}.png")
            for frame in (1, 2):
                save_picture(root / f"i-LIDS-VID/sequences/{folder}/{name}_{frame:05d}.png")
    return root


def test_viper_is_searched_from_the_first_camera_in_the_second(viper: Path) -> None:
    for path in (viper, viper.parent):
        dataset = open_dataset(path)
        assert dataset.name == "viper"
        assert len(dataset.train) == 0
        assert rows(dataset.query) == [
            ("000_45.bmp", 0, 1),
            ("001_45.bmp", 1, 1),
            ("872_45.bmp", 872, 1),
        ]
        assert rows(dataset.gallery)[0] == ("000_135.bmp", 0, 2)
        assert len(dataset.gallery) == 3


def test_prid_searches_for_the_shared_persons_among_all_of_the_other_camera(prid: Path) -> None:
    dataset = open_dataset(prid / "single_shot")
    assert dataset.name == "prid2011"
    assert rows(dataset.query) == [("person_0001.png", 1, 1), ("person_0200.png", 200, 1)]
    assert dataset.gallery.person_ids.tolist() == [1, 200, 201, 749]
    report = inspect_dataset(dataset)
    assert report.problems == ()
    assert report.distractor_images == 2
    assert any("Persons above 200 of cam_a are not queries" in text for text in report.remarks)


def test_prid_takes_single_shots_before_tracks_and_says_so(prid: Path) -> None:
    dataset = open_dataset(prid)
    assert dataset.name == "prid2011"
    assert "Only single_shot is read; name multi_shot to read that." in dataset.remarks


def test_every_frame_of_a_track_is_a_picture_of_its_own(prid: Path) -> None:
    dataset = open_dataset(prid / "multi_shot")
    assert dataset.name == "prid2011-tracks"
    assert [len(split) for split in dataset.splits] == [0, 2 * 3, 4 * 3]
    assert rows(dataset.query)[:2] == [("0001.png", 1, 1), ("0002.png", 1, 1)]
    assert dataset.stray == ()
    assert any("Each frame of a track" in remark for remark in dataset.remarks)


def test_grid_has_cameras_in_the_names_and_distractors_of_person_0(grid: Path) -> None:
    dataset = open_dataset(grid)
    assert dataset.name == "grid"
    assert [row[1:] for row in rows(dataset.query)] == [(1, 1), (250, 7)]
    assert [row[1:] for row in rows(dataset.gallery)] == [(0, 5), (0, 6), (1, 2), (250, 6)]
    assert inspect_dataset(dataset).distractor_images == 2


def test_a_distractor_is_never_searched_for(grid: Path, save_picture: SavePicture) -> None:
    odd = save_picture(grid / "probe/0000_1_25004_107_32_106_221.jpeg")
    dataset = open_dataset(grid)
    assert 0 not in dataset.query.person_ids
    assert dataset.unreadable == (odd,)


@pytest.mark.parametrize("inside", ["", "i-LIDS-VID", "i-LIDS-VID/images"])
def test_ilids_vid_takes_its_single_pictures_first(ilids: Path, inside: str) -> None:
    dataset = open_dataset(ilids / inside)
    assert dataset.name == "ilids-vid"
    assert rows(dataset.query) == [("cam1_person001.png", 1, 1), ("cam1_person319.png", 319, 1)]
    assert dataset.gallery.camera_ids.tolist() == [2, 2]


def test_ilids_vid_reads_its_tracks_when_they_are_named_or_alone(ilids: Path) -> None:
    assert open_dataset(ilids / "i-LIDS-VID/sequences").name == "ilids-vid-tracks"
    shutil.rmtree(ilids / "i-LIDS-VID/images")
    dataset = open_dataset(ilids)
    assert dataset.name == "ilids-vid-tracks"
    assert [len(split) for split in dataset.splits] == [0, 4, 4]


@pytest.mark.parametrize(
    ("name", "removed"),
    [("viper", "cam_b"), ("viper", "cam_a"), ("grid", "gallery")],
)
def test_a_missing_camera_is_named(name: str, removed: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(name)
    shutil.rmtree(root / removed)
    with pytest.raises(DatasetError, match=f"For {name} this folder is missing: {removed}"):
        open_dataset(root)
    with pytest.raises(
        DatasetError, match=r"expected the folders .* Name the folder that contains"
    ):
        read_two_cameras(name, root)


def test_a_missing_camera_deeper_is_named(ilids: Path) -> None:
    for part in ("images", "sequences"):
        shutil.rmtree(ilids / "i-LIDS-VID" / part / "cam2")
    with pytest.raises(DatasetError, match="For ilids-vid this folder is missing: images/cam2"):
        open_dataset(ilids / "i-LIDS-VID")


def test_an_empty_camera_is_named(viper: Path) -> None:
    for path in (viper / "cam_b").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"cam_b: no picture .* 000_45\.bmp, found nothing"):
        open_dataset(viper)


def test_wrong_names_in_both_cameras_are_named(tmp_path: Path, save_picture: SavePicture) -> None:
    for camera in ("cam_a", "cam_b"):
        save_picture(tmp_path / camera / "holiday.jpg")
    assert recognise(tmp_path) is None
    with pytest.raises(DatasetError, match=r"For viper the folders .* name like 000_45\.bmp") as e:
        open_dataset(tmp_path)
    assert "outer folders are named like cameras, as in cam_a/holiday.jpg" in str(e.value)


def test_a_prid_without_shared_persons_has_nobody_to_search_for(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    for camera in ("cam_a", "cam_b"):
        save_picture(tmp_path / camera / "person_0300.png")
    with pytest.raises(DatasetError, match="cam_a: there is no query here"):
        open_dataset(tmp_path)


def test_odd_names_and_deeper_pictures_are_collected(
    viper: Path, save_picture: SavePicture
) -> None:
    odd = save_picture(viper / "cam_a/holiday.bmp")
    deep = save_picture(viper / "cam_b/more/000_45.bmp")
    dataset = open_dataset(viper)
    assert dataset.unreadable == (odd,)
    assert dataset.stray == (deep,)


def test_a_part_of_a_set_named_like_it_is_a_problem(viper: Path) -> None:
    (problem,) = inspect_dataset(open_dataset(viper)).problems
    assert "not all of VIPeR" in problem
    assert "query images 3 instead of 632" in problem
