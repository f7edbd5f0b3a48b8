"""Files appear whole or not at all."""

import errno
import os
import threading
import time
from pathlib import Path
from typing import BinaryIO, Literal

import pytest

from adln.atomic import (
    atomic_folder,
    atomic_write,
    beside,
    file_sha256,
    locked,
    require_regular,
    require_writable,
    suffix_of,
    user_folder,
)
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


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (errno.ENOSPC, "Free some space or make it writable; "),
        (errno.EROFS, "). Make it writable; "),
        (errno.EACCES, "). Make it writable; "),
    ],
)
def test_what_to_do_goes_with_why_a_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int, advice: str
) -> None:
    def refuse(_: int) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "fsync", refuse)
    with (
        pytest.raises(GalleryError) as told,
        atomic_write(tmp_path / "a.txt", raises=GalleryError, instead="make it writable"),
    ):
        pass
    assert advice in str(told.value)


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_of_a_mode_has_it_from_its_first_byte_on(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret.toml"
    (tmp_path / ".secret.toml.partial").touch(0o666)
    with atomic_write(path, raises=GalleryError, mode=mode) as file:
        file.write(b"password")
        (partial,) = tmp_path.iterdir()
        assert partial.stat().st_mode & 0o777 == mode
    assert path.stat().st_mode & 0o777 == mode


def test_two_writers_of_one_file_do_not_meet_in_a_partial_one(tmp_path: Path) -> None:
    path = tmp_path / "answer.txt"
    with atomic_write(path, raises=GalleryError) as first:
        first.write(b"first")
        first.flush()
        with atomic_write(path, raises=GalleryError) as second:
            second.write(b"second, longer")
        assert path.read_bytes() == b"second, longer"
    assert path.read_bytes() == b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["answer.txt"]


def test_what_a_killed_writer_left_is_removed_and_no_other_file(tmp_path: Path) -> None:
    leftovers = [".answer.txt.partial", ".answer.txt.0123abcd.partial"]
    others = [".another.txt.0123abcd.partial", ".answer.txt.bak"]
    for name in leftovers + others:
        (tmp_path / name).touch()
    with atomic_write(tmp_path / "answer.txt", raises=GalleryError):
        pass
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(["answer.txt", *others])


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(GalleryError, match="is a pipe or a device"):
            require_writable(path, raises=GalleryError)
        with (
            pytest.raises(GalleryError, match="is a pipe or a device"),
            atomic_write(path, raises=GalleryError),
        ):
            pass
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_of_this_process_is_not_replaced_by_a_file() -> None:
    reading, writing = os.pipe()
    try:
        with (
            pytest.raises(GalleryError, match="is a pipe or a device"),
            atomic_write(Path(f"/proc/self/fd/{writing}"), raises=GalleryError),
        ):
            pass
    finally:
        os.close(reading)
        os.close(writing)


def test_a_link_stays_one_and_leads_to_the_new_file(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    link.symlink_to(real)
    for text in (b"first", b"second"):
        with atomic_write(link, raises=GalleryError) as file:
            file.write(text)
        assert link.is_symlink()
        assert real.read_bytes() == text
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_appears_when_all_of_it_is_there_in_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "above" / "drawn"
    for number in (1, 2):
        with atomic_folder(path, raises=GalleryError) as folder:
            (folder / f"{number}.txt").touch()
            assert path.exists() == (number == 2)
        assert [each.name for each in path.iterdir()] == [f"{number}.txt"]
    assert [each.name for each in path.parent.iterdir()] == ["drawn"]


def test_a_folder_that_is_not_finished_leaves_the_old_one_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "drawn"
    path.mkdir()
    (path / "old.txt").touch()
    expected = r"drawn: cannot be written \(No space left on device\).*untouched"

    def fill() -> None:
        with atomic_folder(path, raises=GalleryError) as folder:
            (folder / "new.txt").touch()
            raise OSError(28, "No space left on device")

    with pytest.raises(GalleryError, match=expected):
        fill()
    assert [each.name for each in tmp_path.rglob("*")] == ["drawn", "old.txt"]


def test_a_folder_that_is_interrupted_while_it_gets_its_name_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "drawn"
    path.mkdir()
    (path / "old.txt").touch()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt), atomic_folder(path, raises=GalleryError) as folder:
        (folder / "new.txt").touch()
    assert [each.name for each in tmp_path.rglob("*")] == ["drawn", "old.txt"]


def test_a_folder_whose_writer_was_killed_before_the_new_one_had_its_name_is_put_back(
    tmp_path: Path,
) -> None:
    path, before = tmp_path / "drawn", tmp_path / ".drawn.0123abcd.partial" / "drawn.before"
    before.mkdir(parents=True)
    (before / "old.txt").touch()
    with pytest.raises(KeyboardInterrupt), atomic_folder(path, raises=GalleryError):
        raise KeyboardInterrupt
    assert [each.name for each in tmp_path.rglob("*")] == ["drawn", "old.txt"]


def test_folders_that_a_killed_writer_left_are_removed_but_none_in_use(tmp_path: Path) -> None:
    path = tmp_path / "drawn"
    for name in (".drawn.partial", ".drawn.0123abcd.partial"):
        (tmp_path / name / "drawn").mkdir(parents=True)
    with atomic_folder(path, raises=GalleryError) as first:
        (first / "first").touch()
        with atomic_folder(path, raises=GalleryError) as second:
            (second / "second").touch()
        assert [each.name for each in path.iterdir()] == ["second"]
    assert [each.name for each in path.iterdir()] == ["first"]
    assert [each.name for each in tmp_path.iterdir()] == ["drawn"]


def test_a_lock_lets_one_in_at_a_time_and_leaves_no_file(tmp_path: Path) -> None:
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(20):
            with locked(tmp_path):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == []


def half_of_it(file: BinaryIO, ending: type[BaseException]) -> None:
    file.write(b"half")
    raise ending


@pytest.mark.parametrize("ending", [KeyboardInterrupt, ValueError])
def test_whatever_ends_the_writing_leaves_no_partial_file(
    tmp_path: Path, ending: type[BaseException]
) -> None:
    with (
        pytest.raises(ending),
        atomic_write(tmp_path / "answer.txt", raises=GalleryError) as file,
    ):
        half_of_it(file, ending)
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_written_is_told_before_and_nothing_is_made(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b.txt", raises=GalleryError)
    require_writable(tmp_path / "a" / "b", raises=GalleryError, folder=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_and_a_folder_of_that_name_are_told_before(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (True, False):
        with pytest.raises(GalleryError, match=r"file/r: cannot be written .*is not a folder"):
            require_writable(tmp_path / "file" / "r", raises=GalleryError, folder=folder)
    with pytest.raises(GalleryError, match="is a folder; expected the name of a file"):
        require_writable(tmp_path, raises=GalleryError)


@pytest.mark.skipif(os.name != "posix", reason="named pipes are of POSIX")
def test_a_pipe_is_refused_before_it_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(GalleryError, match="it is a pipe or a device; expected a list"):
        require_regular(tmp_path / "pipe", raises=GalleryError, expected="a list")
    require_regular(tmp_path / "missing", raises=GalleryError, expected="a list")


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    digest = file_sha256(path, raises=GalleryError, expected="a file")
    # FIPS 180-2, appendix B.1.
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_nothing_waits_for_the_digest_of_a_pipe_or_a_missing_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(GalleryError, match=r"a pipe or a device; expected a gallery\."):
        file_sha256(tmp_path / "pipe", raises=GalleryError, expected="a gallery")
    with pytest.raises(GalleryError, match=r"cannot be opened .* expected a gallery\."):
        file_sha256(tmp_path / "missing", raises=GalleryError, expected="a gallery")


@pytest.mark.parametrize("kind", ["cache", "config"])
def test_a_relative_folder_of_the_user_is_ignored(
    kind: Literal["cache", "config"], monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"XDG_{kind.upper()}_HOME"
    monkeypatch.setenv(variable, "/somewhere")
    assert user_folder(kind) == Path("/somewhere/adln")
    for value in ("", "relative"):
        monkeypatch.setenv(variable, value)
        assert user_folder(kind) == Path.home() / f".{kind}" / "adln"


def test_a_place_that_cannot_be_looked_for_is_named_before_the_work() -> None:
    # Under so long a name nobody can look for anything, not even root.
    with pytest.raises(GalleryError, match=r"cannot be written .* Choose another place"):
        require_writable(Path("/" + "x" * 300) / "file", raises=GalleryError)


def test_folders_that_are_missing_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with atomic_write(path, raises=GalleryError) as file:
        file.write(b"all of it")
    assert path.read_bytes() == b"all of it"


def test_a_file_beside_another_may_be_in_capitals(tmp_path: Path) -> None:
    assert suffix_of(Path("NET.XML")) == ".xml"
    path = tmp_path / "NET.XML"
    assert beside(path, ".bin") == tmp_path / "NET.bin"
    (tmp_path / "NET.BIN").touch()
    assert beside(path, ".bin") == tmp_path / "NET.BIN"
    (tmp_path / "NET.bin").touch()
    assert beside(path, ".bin") == tmp_path / "NET.bin"
