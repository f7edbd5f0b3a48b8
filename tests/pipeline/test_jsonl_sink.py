import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from adln.errors import DeliveryError, UndeliveredError
from adln.pipeline.jsonl_sink import JsonlSink
from adln.pipeline.outbox import StoredEvent
from adln.pipeline.sightings import SightingEvent

Make = Callable[[int], StoredEvent]
FullDisk = Callable[..., AbstractContextManager[None]]


def bodies(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_every_line_is_a_sighting(tmp_path: Path, make_stored: Make) -> None:
    path = tmp_path / "new" / "sightings.jsonl"
    sink = JsonlSink(path)
    sink.deliver([make_stored(1), make_stored(2)])
    sink.deliver([make_stored(3)])
    sink.close()
    assert [SightingEvent.from_json(line).track_id for line in bodies(path)] == [1, 2, 3]


def test_only_its_owner_reads_who_was_seen_and_whom_the_owner_lets_in(
    tmp_path: Path, make_stored: Make
) -> None:
    path = tmp_path / "sightings.jsonl"
    modes = []
    old = os.umask(0)
    try:
        sink = JsonlSink(path, max_bytes=1)
        sink.deliver([make_stored(1)])
        modes.append(path.stat().st_mode & 0o777)
        path.chmod(0o644)
        sink.close()
        # Closed to everybody, and open to the group, in the parts that follow, too.
        for number in (2, 3):
            sink.deliver([make_stored(number)])
            modes.append(path.stat().st_mode & 0o777)
        sink.close()
    finally:
        os.umask(old)
    assert modes == [0o600, 0o640, 0o640]


def test_a_file_is_continued_and_a_torn_line_cut_off(tmp_path: Path, make_stored: Make) -> None:
    path = tmp_path / "sightings.jsonl"
    path.write_text(make_stored(1).body + "\n" + make_stored(2).body[:30], encoding="utf-8")
    sink = JsonlSink(path)
    sink.deliver([make_stored(2)])
    sink.close()
    assert bodies(path) == [make_stored(1).body, make_stored(2).body]


def test_a_torn_first_line_longer_than_a_block_is_cut_off(
    tmp_path: Path, make_stored: Make
) -> None:
    path = tmp_path / "sightings.jsonl"
    path.write_bytes(b"{" + b"x" * 200_000)
    sink = JsonlSink(path)
    sink.deliver([make_stored(1)])
    sink.close()
    assert bodies(path) == [make_stored(1).body]


def test_a_full_disk_leaves_whole_lines_and_is_overcome(
    tmp_path: Path, make_stored: Make, full_disk: FullDisk
) -> None:
    path = tmp_path / "sightings.jsonl"
    sink = JsonlSink(path)
    sink.deliver([make_stored(1)])
    # Room for a part of the next lines only.
    room = path.stat().st_size + 100
    with full_disk(room), pytest.raises(UndeliveredError, match="cannot be written"):
        sink.deliver([make_stored(2), make_stored(3)])
    assert bodies(path) == [make_stored(1).body]
    sink.deliver([make_stored(2), make_stored(3)])
    sink.close()
    assert bodies(path) == [make_stored(n).body for n in (1, 2, 3)]


def test_a_large_file_is_put_away_and_the_last_part_removed(
    tmp_path: Path, make_stored: Make
) -> None:
    path = tmp_path / "sightings.jsonl"
    sink = JsonlSink(path, max_bytes=2 * len(make_stored(1).body) + 2, keep=2)
    for n in range(1, 8):
        sink.deliver([make_stored(n)])
    sink.close()
    names = ["sightings.jsonl", "sightings.jsonl.1", "sightings.jsonl.2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    tracks = [[SightingEvent.from_json(x).track_id for x in bodies(tmp_path / n)] for n in names]
    assert tracks == [[7], [5, 6], [3, 4]]


def test_a_file_renamed_or_removed_from_outside_is_begun_anew(
    tmp_path: Path, make_stored: Make
) -> None:
    path = tmp_path / "sightings.jsonl"
    sink = JsonlSink(path)
    sink.deliver([make_stored(1)])
    path.rename(tmp_path / "old")
    sink.deliver([make_stored(2)])
    path.unlink()
    sink.deliver([make_stored(3)])
    path.unlink()
    path.write_text("", encoding="utf-8")
    sink.deliver([make_stored(4)])
    sink.close()
    assert bodies(path) == [make_stored(4).body]
    assert bodies(tmp_path / "old") == [make_stored(1).body]


def test_what_cannot_be_written_is_not_acknowledged(tmp_path: Path, make_stored: Make) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", Path("/dev/full")):
        sink = JsonlSink(path)
        with pytest.raises(UndeliveredError, match="cannot be written"):
            sink.deliver([make_stored(1)])
        sink.close()


def test_bounds_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="1 or more"):
        JsonlSink(tmp_path / "x", keep=0)


@pytest.mark.parametrize(
    "content", [b"SQLite format 3\0 without an end", b"gallery = 'shop'", b"\n"]
)
def test_no_other_file_is_written_to(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "something.else"
    path.write_bytes(content)
    with pytest.raises(DeliveryError, match="not a file of sightings"):
        JsonlSink(path)
    assert path.read_bytes() == content
