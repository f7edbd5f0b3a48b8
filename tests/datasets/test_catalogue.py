import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adln.datasets.catalogue import (
    LAYOUTS,
    names_of_pictures,
    open_dataset,
    open_datasets,
    recognise,
)
from adln.datasets.listing import pictures_below
from adln.errors import DatasetError

SavePicture = Callable[[Path], Path]


def write_msmt17(root: Path) -> None:
    for name in ("train", "test"):
        (root / name).mkdir(parents=True)
    for name in ("train", "val", "query", "gallery"):
        (root / f"list_{name}.txt").write_text("0000/0000_000_01_0303morning_0008_0.jpg 0\n")


def test_each_layout_is_recognised(tmp_path: Path, market: Path, save_picture: SavePicture) -> None:
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        save_picture(tmp_path / "duke" / name / "0005_c2_f0046985.jpg")
    write_msmt17(tmp_path / "msmt")
    save_picture(tmp_path / "cuhk01/campus/0001001.png")
    save_picture(tmp_path / "cuhk03/train/0000_00.jpg")
    save_picture(tmp_path / "cuhk03/val/0000_00.jpg")
    for pair in range(1, 6):
        for camera in (1, 2):
            save_picture(tmp_path / f"cuhk02/P{pair}/cam{camera}/001_1.png")
    for name in (
        "viper/cam_a/000_45.bmp",
        "viper/cam_b/000_90.bmp",
        "prid/single_shot/cam_a/person_0001.png",
        "prid/single_shot/cam_b/person_0001.png",
        "grid/probe/0001_1_25004_107_32_106_221.jpeg",
        "grid/gallery/0001_2_25023_116_134_128_330.jpeg",
        "ilids/images/cam1/person001/cam1_person001.png",
        "ilids/images/cam2/person001/cam2_person001.png",
    ):
        save_picture(tmp_path / name)
    save_picture(tmp_path / "own/train/anna/c1_a.jpg")
    (tmp_path / "table.csv").write_text("path,person,camera,split\na.jpg,1,1,train\n")
    found = {
        layout: open_dataset(tmp_path / name).name
        for layout, name in {
            "market1501": market.name,
            "dukemtmc": "duke",
            "msmt17": "msmt",
            "cuhk01": "cuhk01",
            "cuhk02": "cuhk02",
            "cuhk03": "cuhk03",
            "viper": "viper",
            "prid2011": "prid",
            "grid": "grid",
            "ilids-vid": "ilids",
            "folder": "own",
            "csv": "table.csv",
        }.items()
    }
    assert found == {layout: layout for layout in LAYOUTS}


def test_the_folder_above_is_enough(market: Path) -> None:
    assert open_dataset(market.parent).root == market


def test_a_named_layout_is_used(market: Path) -> None:
    assert open_dataset(market, "market1501").name == "market1501"
    with pytest.raises(DatasetError, match="expected MSMT17"):
        open_dataset(market, "msmt17")


def test_unknown_layout_lists_the_known_ones(market: Path) -> None:
    with pytest.raises(DatasetError, match="no layout 'airport'; known: auto, market1501"):
        open_dataset(market, "airport")


@pytest.mark.parametrize("layout", ["auto", "folder"])
def test_missing_path_is_named(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DatasetError, match="absent: there is no such file or folder"):
        open_dataset(tmp_path / "absent", layout)


def test_wrong_folder_tells_what_was_found_and_every_expected_layout(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DatasetError, match="Found: photos") as caught:
        open_dataset(tmp_path)
    for layout in LAYOUTS:
        assert layout in str(caught.value)


def test_missing_folder_of_market_is_named(market: Path) -> None:
    shutil.rmtree(market / "bounding_box_test")
    with pytest.raises(DatasetError, match="these folders are missing: bounding_box_test"):
        open_dataset(market)


def test_market_folders_with_foreign_names_are_explained(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        save_picture(tmp_path / name / "holiday.jpg")
    with pytest.raises(DatasetError, match="no picture in them has a name that gives person"):
        open_dataset(tmp_path)


def test_several_data_sets_below_are_listed(market: Path) -> None:
    shutil.copytree(market, market.parent / "copy")
    with pytest.raises(DatasetError, match=r"copy \(market1501\), tiny \(market1501\)"):
        open_dataset(market.parent)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path, save_picture: SavePicture) -> None:
    with pytest.raises(DatasetError, match=r"neither a folder nor a \.csv table"):
        open_dataset(save_picture(tmp_path / "a.jpg"))


def test_nothing_is_recognised_in_an_empty_folder(tmp_path: Path) -> None:
    assert recognise(tmp_path) is None


def test_two_cuts_of_the_same_people_are_refused(tmp_path: Path, save_picture: SavePicture) -> None:
    for cut in ("labeled", "detected"):
        for part in ("train", "val"):
            for view in (0, 5):
                save_picture(tmp_path / cut / part / f"0001_{view:02d}.jpg")
    with pytest.raises(DatasetError, match="cuhk03-detected and cuhk03-labeled show the same"):
        open_datasets([tmp_path / "labeled", tmp_path / "detected"])


def test_a_data_set_that_is_named_twice_is_refused(market: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(market)
    assert [dataset.root for dataset in open_datasets([market])] == [market]
    with pytest.raises(DatasetError, match=r"link: this data set is named twice"):
        open_datasets([market, tmp_path / "link"])


def test_pictures_without_labels_are_named_by_the_data_set_they_lie_in(
    tmp_path: Path, market: Path, save_picture: SavePicture
) -> None:
    assert names_of_pictures(pictures_below(market)) == ["market1501"]
    assert names_of_pictures(pictures_below(market / "bounding_box_train")) == ["market1501"]
    mixed = tmp_path / "mixed"
    save_picture(mixed / "street/1.jpg")
    save_picture(mixed / "cuhk/campus/0001001.png")
    assert names_of_pictures(pictures_below(mixed)) == ["cuhk01", "folder"]
    links = tmp_path / "links"
    links.mkdir()
    (links / "a.jpg").symlink_to(pictures_below(market)[0])
    assert names_of_pictures(pictures_below(links)) == ["market1501"]
    assert names_of_pictures([]) == []


def test_what_lies_above_pictures_need_be_no_table_that_can_be_read(
    tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = save_picture(tmp_path / "a/b/1.jpg")
    (tmp_path / "a/out.csv").mkdir()
    assert names_of_pictures([picture]) == ["folder"]
    whole = Path.is_dir

    def refuse(path: Path) -> bool:
        if path.parent == tmp_path / "a":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert names_of_pictures([picture]) == ["folder"]
