"""What a gallery on a server says when there is none; the rest is in test_conformance.py."""

import sys
from pathlib import Path

import pytest

from adln.cli.gallery_move import open_to_copy
from adln.errors import GalleryError
from adln.gallery.milvus import MilvusGallery
from adln.gallery.moving import move_gallery
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import sightings, unit_rows


@pytest.mark.parametrize("name", ["", "two words", "1st", "straße", "x" * 101, 'a"b'])
def test_a_name_that_a_server_cannot_keep_is_refused(name: str) -> None:
    with pytest.raises(GalleryError, match="letters, digits and underscores"):
        MilvusGallery("http://localhost:9", name)


def test_what_to_install_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(GalleryError, match=r"pip install .\.\[milvus\]"):
        MilvusGallery("http://localhost:9")


def test_a_server_that_does_not_answer_is_told() -> None:
    pytest.importorskip("pymilvus")
    with pytest.raises(GalleryError, match=r"could not connect.*Check that it runs"):
        MilvusGallery("http://localhost:9")


@pytest.mark.parametrize("cut_off", ["_bar_former_names", "_delete", "_still_found"])
def test_a_forgetting_that_is_cut_off_is_finished_when_it_is_repeated(
    milvus_uri: str, monkeypatch: pytest.MonkeyPatch, cut_off: str
) -> None:
    from pymilvus import MilvusException

    def fail(*_: object) -> None:
        raise MilvusException(message="the server is gone")

    name = f"cut{cut_off}"
    with MilvusGallery(milvus_uri, name, consistency="Strong") as gallery:
        ann, ben = gallery.enrol("Anna"), gallery.enrol("Ben")
        gallery.name_person(ann, "Ann")
        gallery.add(sightings(unit_rows(4), persons=[ann, ann, ben, None]))
        gallery.merge([part := gallery.enrol("Annie")], ann)
        with monkeypatch.context() as patch:
            patch.setattr(gallery, cut_off, fail)
            with pytest.raises(GalleryError, match="could not forget"):
                gallery.forget(ann)
    with MilvusGallery(milvus_uri, name, consistency="Strong") as gallery:
        if cut_off != "_still_found":
            assert gallery.forget(ann).sightings == 2
        assert gallery.count() == 2
        assert gallery.gone([ann, part, ben]) == {ann, part}
        for barred in ("Anna", "Ann", "Annie"):
            with pytest.raises(GalleryError, match="forgotten"):
                gallery.enrol(barred)
        # Nothing of them is left, so there is nobody to forget.
        with pytest.raises(GalleryError, match="no person"):
            gallery.forget(ann)


def test_a_copy_to_a_server_that_is_interrupted_leaves_nothing_there(
    milvus_uri: str, tmp_path: Path
) -> None:
    place = f"{milvus_uri}/interrupted"
    with SqliteGallery(tmp_path / "old", create=True) as old:
        old.add(sightings(unit_rows(4), persons=[old.enrol("Ann"), None] * 2))

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with (
            pytest.raises(KeyboardInterrupt),
            open_to_copy(str(tmp_path / "old"), place) as (source, target),
        ):
            move_gallery(source, target, on_progress=interrupt)
        with (
            pytest.raises(GalleryError, match="no gallery here"),
            open_to_copy(place, str(tmp_path / "new")),
        ):
            pass
    with open_to_copy(str(tmp_path / "old"), place) as (source, target):
        assert len(move_gallery(source, target).sighting_ids) == 4
    # What was there before stays, whatever happens.
    with (
        pytest.raises(GalleryError, match="must be empty"),
        open_to_copy(str(tmp_path / "old"), place) as (source, target),
    ):
        move_gallery(source, target)
    with MilvusGallery(milvus_uri, "interrupted", create=False) as kept:
        assert kept.count() == 4
