"""What a gallery on a server says when there is none; the rest is in test_conformance.py."""

import sys

import pytest

from adln.errors import GalleryError
from adln.gallery.milvus import MilvusGallery


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
