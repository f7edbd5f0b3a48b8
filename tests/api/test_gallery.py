"""A gallery from Python."""

from pathlib import Path

import numpy as np
import pytest
from tests.api.conftest import MEAN, STD

import adln
from adln.errors import GalleryError


@pytest.fixture
def net(foreign: Path) -> adln.Network:
    return adln.load(foreign, mean=MEAN, std=STD)


def test_somebody_who_was_enrolled_is_found_after_the_gallery_was_closed(
    net: adln.Network, tmp_path: Path
) -> None:
    anna, bo = np.eye(3, dtype=np.float32)[:2]
    with adln.Gallery(tmp_path / "shop") as gallery:
        number = gallery.enrol("Anna", anna, network=net)
        gallery.enrol("Bo", np.stack([bo, bo]), network=net)
        assert gallery.enrol("Anna", anna, network=net) == number
    with adln.Gallery(tmp_path / "shop") as gallery:
        assert [one.name for one in gallery.people] == ["Anna", "Bo"]
        assert len(gallery) == 4
        answer = gallery.identify(anna, network=net)
        assert answer.nearest is not None
        assert answer.nearest.name == "Anna"
        assert "no calibration" in answer.reason
        assert len(gallery.search(anna, network=net, k=3)) == 3


def test_a_name_is_the_same_however_its_accents_are_encoded(
    net: adln.Network, tmp_path: Path
) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        number = gallery.enrol("Zo\u00eb", np.eye(3)[0], network=net)
        assert gallery.enrol("Zoe\u0308", np.eye(3)[0], network=net) == number
        gallery.forget("Zoe\u0308 ")
        assert gallery.people == []


def test_somebody_is_forgotten_by_name(net: adln.Network, tmp_path: Path) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        gallery.enrol("Anna", np.eye(3)[0], network=net)
        gallery.forget("Anna")
        assert gallery.people == []
        with pytest.raises(GalleryError, match="Anna"):
            gallery.forget("Anna")


def test_two_names_of_one_person_become_one(net: adln.Network, tmp_path: Path) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        number = gallery.enrol("Anna", np.eye(3)[0], network=net)
        gallery.enrol("Ann", np.eye(3)[0], network=net)
        gallery.merge(["Ann"], into="Anna")
        assert [one.person_id for one in gallery.people] == [number]


def test_nobody_is_enrolled_without_an_embedding_or_with_an_impossible_one(
    net: adln.Network, tmp_path: Path
) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        with pytest.raises(GalleryError, match="without an embedding"):
            gallery.enrol("Anna", np.zeros((0, 3)), network=net)
        with pytest.raises(GalleryError):
            gallery.enrol("Anna", np.zeros((1, 4)), network=net)
        assert gallery.people == []
