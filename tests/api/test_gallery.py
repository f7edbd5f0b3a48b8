"""A gallery from Python."""

import datetime
import multiprocessing
import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

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


@pytest.mark.parametrize(
    "wrong",
    [
        {"embeddings": np.full((1, 3), np.nan)},
        {"embeddings": np.eye(4)[:1]},
        {"embeddings": "abc"},
        {"camera": -1},
        {"camera": "door"},
        {"camera": 1.5},
        {"times_s": np.nan},
        {"times_s": 1.76e12},  # milliseconds
        {"times_s": [1.0, 2.0]},
        {"times_s": "2026-01-01"},
        {"times_s": np.datetime64("2026-01-01")},
        {"times_s": datetime.datetime(2026, 1, 1)},
    ],
)
def test_who_could_not_be_enrolled_is_not_barred_and_leaves_nothing(
    net: adln.Network, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    right: dict[str, Any] = {"embeddings": np.eye(3, dtype=np.float32)[:1]}
    with adln.Gallery(tmp_path / "shop") as gallery:
        with pytest.raises(GalleryError):
            gallery.enrol("Anna", **(right | wrong), network=net)
        assert (gallery.people, len(gallery)) == ([], 0)
        gallery.enrol("Anna", **right, network=net, camera=np.int64(3), times_s=1.76e9)
        assert [one.name for one in gallery.people] == ["Anna"]


@pytest.mark.parametrize("name", ["", " ", None, 7, b"Anna", "a\nb"])
def test_what_is_no_name_is_refused(net: adln.Network, tmp_path: Path, name: Any) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        with pytest.raises(GalleryError, match="name"):
            gallery.enrol(name, np.eye(3)[0], network=net)
        assert gallery.people == []


@pytest.mark.parametrize("folder", [None, 5, "", b"shop", "a\0b", "a" * 5000])
def test_what_is_no_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GalleryError):
        adln.Gallery(folder)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    name: Any = "res1"
    with adln.Gallery(tmp_path / "shop") as gallery:
        for refused in (
            lambda: gallery.enrol("Anna", np.eye(3)[0], network=name),
            lambda: gallery.identify(np.eye(3)[0], network=name),
            lambda: gallery.search(np.eye(3)[0], network=name),
        ):
            with pytest.raises(GalleryError, match=r"adln\.load.*'res1'"):
                refused()


@pytest.mark.parametrize("name", [None, 1, b"Anna"])
def test_nobody_is_called_by_what_is_no_text(net: adln.Network, tmp_path: Path, name: Any) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        gallery.enrol("1", np.eye(3)[0], network=net)
        with pytest.raises(GalleryError, match="nobody is called"):
            gallery.forget(name)
        assert len(gallery) == 1


def test_one_name_from_many_threads_is_one_person(net: adln.Network, tmp_path: Path) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery, ThreadPoolExecutor(8) as pool:
        numbers = list(
            pool.map(lambda at: gallery.enrol("Anna", np.eye(3)[at % 3], network=net), range(16))
        )
        assert len(set(numbers)) == 1
        assert [(one.name, one.num_sightings) for one in gallery.people] == [("Anna", 16)]


def test_nobody_is_enrolled_by_embeddings_that_are_refused(
    net: adln.Network, tmp_path: Path
) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        number = gallery.enrol("Anna", np.eye(3)[0], network=net)
        gallery.store.forget(number, suppress_above=0.9)
        with pytest.raises(GalleryError, match="forgotten"):
            gallery.enrol("Somebody", np.eye(3)[0], network=net)
        assert gallery.people == []


def test_only_one_embedding_is_searched_for(net: adln.Network, tmp_path: Path) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        gallery.enrol("Anna", np.eye(3), network=net)
        for several in (np.eye(3), np.zeros((0, 3)), np.ones((1, 1, 3))):
            for ask in (gallery.identify, gallery.search):
                with pytest.raises(GalleryError, match="one embedding"):
                    ask(several, network=net)
        assert gallery.identify(np.eye(3)[:1].tolist(), network=net).person is not None


def test_nobody_is_merged_with_themselves(net: adln.Network, tmp_path: Path) -> None:
    with adln.Gallery(tmp_path) as gallery:
        gallery.store.enrol("Anna")
        with pytest.raises(GalleryError, match="themselves"):
            gallery.merge(["Anna"], into="Anna")


def test_one_name_can_be_merged_without_a_list(net: adln.Network, tmp_path: Path) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        gallery.enrol("Anna", np.eye(3)[0], network=net)
        gallery.enrol("Ann", np.eye(3)[0], network=net)
        gallery.merge("Ann", into="Anna")
        assert [one.name for one in gallery.people] == ["Anna"]


def test_a_gallery_goes_to_another_process_by_its_folder(net: adln.Network, tmp_path: Path) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        gallery.enrol("Anna", np.eye(3)[0], network=net)
        with pickle.loads(pickle.dumps(gallery)) as there:
            assert there.folder == gallery.folder
            there.enrol("Bo", np.eye(3)[1], network=net)
        assert [one.name for one in gallery.people] == ["Anna", "Bo"]


def test_a_change_of_the_working_directory_leads_to_no_other_gallery(
    net: adln.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    with adln.Gallery("shop") as gallery:
        gallery.enrol("Anna", np.eye(3)[0], network=net)
        monkeypatch.chdir(there)
        gallery.enrol("Bo", np.eye(3)[1], network=net)
        gallery.forget("Anna")
        assert gallery.folder == here / "shop"
        with pickle.loads(pickle.dumps(gallery)) as again:
            assert [one.name for one in again.people] == ["Bo"]
    assert list(there.iterdir()) == []


def test_a_folder_may_have_a_name_in_another_encoding(net: adln.Network, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"G\xe4nge")  # Latin-1
    with adln.Gallery(folder) as gallery:
        gallery.enrol("Anna", np.eye(3)[0], network=net)
    with adln.Gallery(folder) as gallery:
        assert [one.name for one in gallery.people] == ["Anna"]


def test_a_forked_process_opens_the_gallery_anew(net: adln.Network, tmp_path: Path) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        return
    with adln.Gallery(tmp_path / "shop") as gallery:
        gallery.enrol("Anna", np.eye(3)[0], network=net)
        inherited = gallery.store

        def work(answers: Any) -> None:
            try:
                inherited.count()
            except GalleryError as error:
                answers.put(str(error))
            gallery.enrol("Bo", np.eye(3)[1], network=net)
            answers.put(gallery.store is not inherited)
            gallery.close()

        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        child = context.Process(target=work, args=(answers,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads are not copied
            child.start()
        try:
            assert "forked" in answers.get(timeout=30)
            assert answers.get(timeout=30)
            child.join(30)
            assert child.exitcode == 0
        finally:
            child.kill()
        assert [one.name for one in gallery.people] == ["Anna", "Bo"]
        assert gallery.store is inherited


def test_an_argument_of_another_type_is_named(net: adln.Network, tmp_path: Path) -> None:
    one, wrong = np.eye(3, dtype=np.float32)[0], cast("Any", {"cameras": [1]})
    with adln.Gallery(tmp_path / "shop") as gallery:
        for is_empty in (True, False):
            for said, asked in (
                ("where: expected Filter", lambda: gallery.identify(one, network=net, where=wrong)),
                ("where: expected Filter", lambda: gallery.search(one, network=net, where=wrong)),
                ("where: expected Filter", lambda: gallery.store.count(wrong)),
                ("where: expected Filter", lambda: gallery.store.iterate(wrong)),
                ("names: expected", lambda: gallery.merge(cast("Any", None), into="Anna")),
            ):
                with pytest.raises(GalleryError, match=said):
                    asked()
            if is_empty:
                gallery.enrol("Anna", one, network=net)


@pytest.mark.parametrize("time_s", [0, -1.0, float("nan"), float("inf"), 1.76e12, [0.0]])
def test_a_time_at_which_nobody_can_have_been_seen_is_refused(
    net: adln.Network, tmp_path: Path, time_s: Any
) -> None:
    with adln.Gallery(tmp_path / "shop") as gallery:
        with pytest.raises(GalleryError, match="times_s"):
            gallery.enrol("Anna", np.eye(3)[0], network=net, times_s=time_s)
        assert (gallery.people, len(gallery)) == ([], 0)


def test_a_file_is_no_folder_of_a_gallery(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GalleryError, match="is a file; expected the folder of a gallery"):
        adln.Gallery(tmp_path / "file")
