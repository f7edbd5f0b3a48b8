from dataclasses import replace
from pathlib import Path

import pytest

from adln.errors import SettingsError
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.watch_settings import read_watch_settings
from adln.scenes.walking_scene import ScenePlan
from adln.service.demo import NAMES, demo_in, draw_demo
from adln.service.network import open_network
from adln.service.settings import ServeSettings


def test_its_people_are_known_by_name_and_found_by_other_pictures_of_them(
    demo_folder: Path,
) -> None:
    demo = demo_in(demo_folder)
    network, _ = open_network(ServeSettings())
    assert network is not None
    assert demo.is_ready(network)
    other = replace(network, model=replace(network.model, digest="ab" * 32))
    assert not demo.is_ready(other)
    pictures = sorted(demo.pictures.glob("*.jpg"))
    found = 0
    with SqliteGallery(demo.gallery) as gallery:
        names = {person.person_id: person.name for person in gallery.persons()}
        assert set(names.values()) <= {*NAMES, None}
        for picture in pictures:
            (result,) = gallery.search(
                network.embed(picture.read_bytes()), model=network.model, k=1
            )
            found += names[int(result.person_ids[0])] == picture.stem.title()
    assert found >= 2


def test_its_cameras_are_those_of_the_drawing(demo_folder: Path) -> None:
    settings = read_watch_settings(demo_in(demo_folder).watch)
    assert [camera.number for camera in settings.cameras] == [1, 2, 3]
    assert all((demo_folder / camera.source).is_dir() for camera in settings.cameras)
    assert (demo_folder / settings.detector.boxes).is_file()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        gallery.enrol("somebody real")
    network, _ = open_network(ServeSettings())
    assert network is not None
    with pytest.raises(SettingsError, match="not touched"):
        draw_demo(demo_in(tmp_path), network)
    with SqliteGallery(tmp_path / "gallery") as gallery:
        assert len(gallery.persons()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["gallery"]


def test_what_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    network, _ = open_network(ServeSettings())
    assert network is not None
    demo = demo_in(tmp_path / "demo")
    plan = ScenePlan(num_persons=1, duration_s=1.0, frames_per_s=2.0)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_demo(demo, network, plan=plan, on_progress=stop)
    assert not demo.is_ready(network)
    draw_demo(demo, network, plan=plan)
    assert demo.is_ready(network)
