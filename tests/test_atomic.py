"""Files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from adln.atomic import atomic_write
from adln.errors import GalleryError


def test_a_file_appears_when_all_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "answer.txt"
    with atomic_write(path, raises=GalleryError) as file:
        file.write(b"42")
        assert not path.exists()
    assert path.read_bytes() == b"42"
    assert [each.name for each in tmp_path.iterdir()] == ["answer.txt"]


def test_a_disk_that_refuses_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "answer.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", refuse)
    expected = r"answer\.txt: cannot be written \(No space left on device\).* or wait; .*untouched"
    with (
        pytest.raises(GalleryError, match=expected),
        atomic_write(path, raises=GalleryError, instead="wait") as file,
    ):
        file.write(b"new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["answer.txt"]
