"""What a gallery loses when things go wrong: kill -9 in mid-write, a full disk, a power cut.

    python -m benchmarks.gallery_faults

- kill -9: a process adds sightings and erases some, says so after each acknowledgement, and is
  killed at a random moment. Then every acknowledged sighting must be there and found, every erased
  one gone, from the answers and from the bytes of all files.
- full disk: the same on a small file system (a tmpfs, which needs root) until it is full.
- restores and flipped bits: a database put back from a backup beside files that went on, and single
  bits of any file turned over. Each time all answers must be right, or the error clear.
- forgetting: people with names, sightings and pictures before a white wall, forgotten one by one.
  No proof may fail, and no piece of any of them may be left in any file.
- power cut: the system calls of acknowledged writes are counted by strace. A write that was synced
  before it was acknowledged survives; that is shown, no power is cut.
"""

import io
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.errors import GalleryError
from adln.gallery.erasing import all_pieces, find_traces, pieces
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery

DIM = 512
MODEL = ModelKey("made-up", 4, DIM)
BATCH = 20
STRACE_BATCHES = 20


@dataclass
class Acknowledged:
    """What a writer said: sighting -> what its embedding is made from."""

    added: dict[int, tuple[int, int]] = field(default_factory=dict)
    erased: dict[int, tuple[int, int]] = field(default_factory=dict)


@click.command()
@click.option("--kills", default=20, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--damages", default=50, show_default=True, help="Restores, and flips, as many each.")
@click.option("--people", default=2000, show_default=True, help="Who are forgotten.")
@click.option("--write", "folder", type=click.Path(path_type=Path), hidden=True)
@click.option("--batches", type=int, hidden=True)
@click.option("--from", "first", default=0, hidden=True)
def main(
    kills: int,
    seed: int,
    damages: int,
    people: int,
    folder: Path | None,
    batches: int | None,
    first: int,
) -> None:
    """Run all faults, or be the writer that they happen to."""
    if folder is not None:
        write(folder, batches, first)
        return
    with tempfile.TemporaryDirectory() as scratch:
        run_kills(Path(scratch) / "gallery", kills, seed)
        run_full_disk(Path(scratch))
        run_damages(Path(scratch), damages, seed)
        for dim in (64, 512):
            run_forgetting(Path(scratch) / f"people-{dim}", people, dim, seed)
        run_strace(Path(scratch) / "traced")


def write(folder: Path, batches: int | None, first: int) -> None:
    """Add and erase until killed, acknowledging each on standard output."""
    gallery = SqliteGallery(folder, create=True)
    number = first
    while batches is None or number < first + batches:
        rows = embeddings(number)
        ids = gallery.add(
            [
                Sighting(embedding=row, model=MODEL, camera_id=at % 8, time_s=1e9 + number)
                for at, row in enumerate(rows)
            ]
        )
        say(f"added {number} {' '.join(map(str, ids))}")
        if number % 4 == 3:
            gallery.delete([one for one in ids[:5] if one is not None])
            say(f"erased {number} {' '.join(map(str, ids[:5]))}")
        number += 1


def say(line: str) -> None:
    """One line that is out before this returns."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def embeddings(number: int) -> NDArray[np.float32]:
    """The embeddings of a batch, the same whoever asks."""
    rows = np.random.default_rng(number).standard_normal((BATCH, DIM)).astype(np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def read_line(line: str, said: Acknowledged) -> None:
    """Take note of one acknowledgement."""
    what, number, *ids = line.split()
    for at, text in enumerate(ids):
        if what == "added":
            said.added[int(text)] = (int(number), at)
        else:
            said.erased[int(text)] = said.added.pop(int(text))


def row_of(origin: tuple[int, int]) -> NDArray[np.float32]:
    """The embedding that came from there."""
    row: NDArray[np.float32] = embeddings(origin[0])[origin[1]]
    return row


def check(folder: Path, said: Acknowledged, *, unsaid_erasures: int) -> Counter[str]:
    """Compare a gallery with what was acknowledged.

    Args:
        folder: of the gallery.
        said: the acknowledgements.
        unsaid_erasures: sightings that may be gone because their erasure was done and the process
            killed before it could say so.
    """
    wrong: Counter[str] = Counter()
    with SqliteGallery(folder) as gallery:
        records = {one.sighting_id: one for one in gallery.get([*said.added, *said.erased])}
        missing = [one for one in said.added if one not in records]
        for sighting_id in missing:
            if unsaid_erasures > 0:
                unsaid_erasures -= 1
                said.erased[sighting_id] = said.added.pop(sighting_id)
            else:
                wrong["acknowledged, lost"] += 1
        for sighting_id, origin in said.added.items():
            if sighting_id in records and not np.array_equal(
                records[sighting_id].embedding, row_of(origin)
            ):
                wrong["acknowledged, changed"] += 1
        for sighting_id in list(said.added)[-200:]:
            (result,) = gallery.search(row_of(said.added[sighting_id]), model=MODEL, k=1)
            wrong["acknowledged, not found"] += int(result.sighting_ids.tolist() != [sighting_id])
        for sighting_id in list(said.erased)[-200:]:
            (result,) = gallery.search(row_of(said.erased[sighting_id]), model=MODEL, k=5)
            wrong["erased, found again"] += int(sighting_id in result.sighting_ids)
        wrong["erased, still stored"] += len(said.erased.keys() & records.keys())
    needles = [
        piece for origin in said.erased.values() for piece in pieces(row_of(origin).tobytes())
    ]
    wrong["erased, bytes in files"] += find_traces(folder, needles).found
    return +wrong


def run_kills(folder: Path, kills: int, seed: int) -> None:
    """Kill writers at random moments."""
    rng = np.random.default_rng(seed)
    said, wrong, first = Acknowledged(), Counter[str](), 0
    for _ in range(kills):
        writer = start_writer(folder, first)
        assert writer.stdout is not None
        # Until the first acknowledgement a process mostly imports.
        lines = [writer.stdout.readline()]
        time.sleep(float(rng.uniform(0.0, 0.6)))
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        for line in lines:
            if line.endswith("\n"):
                read_line(line, said)
        wrong += check(folder, said, unsaid_erasures=5)
        first += 100_000
    click.echo(
        f"kill -9, {kills} times: {len(said.added):,} sightings and {len(said.erased):,} erasures "
        f"acknowledged; {describe(wrong)}"
    )


def run_full_disk(scratch: Path) -> None:
    """Fill a small file system to the brim."""
    with small_disk(scratch / "small") as disk:
        if disk is None:
            click.echo("full disk: a tmpfs cannot be mounted here (needs root); not run")
            return
        folder, said, error = disk / "gallery", Acknowledged(), ""
        with SqliteGallery(folder, create=True) as gallery:
            number = 0
            try:
                while True:
                    rows = embeddings(number)
                    ids = gallery.add(
                        [
                            Sighting(embedding=row, model=MODEL, camera_id=0, time_s=float(number))
                            for row in rows
                        ]
                    )
                    read_line(f"added {number} {' '.join(map(str, ids))}", said)
                    number += 1
            except GalleryError as caught:
                error = str(caught)
            searched = gallery.search(row_of(said.added[1]), model=MODEL, k=1)
            still = searched[0].sighting_ids.tolist() == [1]
            # What the error advises must be possible.
            erased = gallery.expire_before(number / 2)
            for sighting_id, (batch, _) in list(said.added.items()):
                if batch < number / 2:
                    said.erased[sighting_id] = said.added.pop(sighting_id)
        wrong = check(folder, said, unsaid_erasures=0)
        total, words = len(said.added) + len(said.erased), error.split(": ", 1)[1]
        click.echo(
            f'full disk: after {total:,} sightings: "{words}" '
            f"It {'still' if still else 'NO LONGER'} answers; {erased:,} of them were erased to "
            f"make room; {describe(wrong)}"
        )


def run_damages(scratch: Path, count: int, seed: int) -> None:
    """Put databases back, and turn bits over, at random."""
    rng = np.random.default_rng(seed)
    outcomes: dict[str, Counter[str]] = {"restores": Counter(), "flipped bits": Counter()}
    for number in range(count):
        folder, copy = scratch / f"damaged-{number}", scratch / f"copy-{number}.db"
        with SqliteGallery(folder, create=True) as gallery:
            add_some(gallery, rng)
            with (
                closing(sqlite3.connect(copy)) as target,
                closing(sqlite3.connect(folder / "gallery.db")) as source,
            ):
                source.backup(target)
            add_some(gallery, rng)
        shutil.copy(copy, folder / "gallery.db")
        outcomes["restores"][answers(folder, stored_in(folder))] += 1
        right = stored_in(folder)
        files = [path for path in sorted(folder.iterdir()) if path.name != "reserve.bin"]
        path = files[int(rng.integers(len(files)))]
        content = bytearray(path.read_bytes())
        # Where there is something: code files are mostly room for more.
        places = np.flatnonzero(np.frombuffer(bytes(content), np.uint8))
        content[int(rng.choice(places))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        outcomes["flipped bits"][answers(folder, right)] += 1
        shutil.rmtree(folder)
        copy.unlink()
    for what, found in outcomes.items():
        told = ", ".join(f"{times} {outcome}" for outcome, times in sorted(found.items()))
        click.echo(f"{what}: of {count}, {told}")


def add_some(gallery: SqliteGallery, rng: np.random.Generator) -> None:
    """Add sightings of a person and of nobody, and erase a third of what is there."""
    person = gallery.enrol()
    gallery.add(
        [
            Sighting(
                embedding=row,
                model=MODEL,
                camera_id=at % 8,
                time_s=1e9 + at,
                person_id=person if at % 2 else None,
            )
            for at, row in enumerate(embeddings(int(rng.integers(2**40))))
        ]
    )
    ids = [one.sighting_id for batch in gallery.iterate() for one in batch]
    gallery.delete(rng.choice(ids, len(ids) // 3, replace=False).tolist())


def stored_in(folder: Path) -> dict[int, tuple[NDArray[np.float32], int]]:
    """Sighting -> embedding and person (-1: nobody), as the database itself says."""
    with closing(sqlite3.connect(folder / "gallery.db")) as connection:
        rows = connection.execute(
            "SELECT sighting_id, embedding, IFNULL(person_id, -1) FROM sightings "
            "JOIN embeddings USING (sighting_id)"
        ).fetchall()
    return {number: (np.frombuffer(blob, "<f4"), person) for number, blob, person in rows}


def answers(folder: Path, right: dict[int, tuple[NDArray[np.float32], int]]) -> str:
    """Whether a gallery answers rightly, wrongly, or says that it cannot."""
    queries = np.stack([row for row, _ in right.values()])
    try:
        with SqliteGallery(folder) as gallery:
            results = gallery.search(queries, model=MODEL, k=1)
            records = {one.sighting_id: one for batch in gallery.iterate() for one in batch}
    except GalleryError:
        return "said to be damaged"
    found = {
        result.sighting_ids[0]: (result.person_ids[0], result.similarity[0]) for result in results
    }
    is_right = records.keys() == right.keys() and all(
        number in found
        and found[number][0] == person
        and abs(found[number][1] - 1) < 1e-5
        and np.array_equal(records[number].embedding, row)
        for number, (row, person) in right.items()
    )
    return "answered rightly" if is_right else "ANSWERED WRONGLY"


def run_forgetting(folder: Path, people: int, dim: int, seed: int) -> None:
    """Forget people one by one, and look for what is left of them."""
    rng = np.random.default_rng(seed)
    model = ModelKey("made-up", 4, dim)
    rows = rng.standard_normal((people, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = [f"{rng.bytes(int(rng.integers(6, 20))).hex()}-{at}!" for at in range(people)]
    with SqliteGallery(folder, create=True) as gallery:
        numbers = [gallery.enrol(name) for name in names]
        pictures = [before_white_wall(at) for at in range(people)]
        for start in range(0, people, 100):
            gallery.add(
                [
                    Sighting(
                        embedding=rows[at],
                        model=model,
                        camera_id=at % 8,
                        time_s=1e9 + at,
                        person_id=numbers[at],
                        thumbnail=pictures[at],
                    )
                    for at in range(start, min(start + 100, people))
                ]
            )
        order = rng.permutation(people).tolist()
        alarms = sum(not gallery.forget(numbers[at]).is_proved for at in order)
        needles = [piece for row in rows for piece in all_pieces(row.tobytes())]
        left = find_traces(folder, needles).found
        content = b"".join(
            subprocess.run(["cat", str(path)], check=True, capture_output=True).stdout
            for path in sorted(folder.iterdir())
        )
        left_names = sum(name.encode() in content for name in names)
        left_pictures = sum(picture[-40:-2] in content for picture in pictures)
    click.echo(
        f"forgetting {people:,} people of {dim} numbers: {alarms} proofs failed; left in the "
        f"files: {left_names} names, {left} pieces of embeddings, {left_pictures} pictures"
    )


def before_white_wall(number: int) -> bytes:
    """A small picture of somebody made up, most of which is the same in all."""
    pixels = np.full((128, 64, 3), 255, np.uint8)
    colours = np.random.default_rng(number).integers(0, 256, (3, 3))
    pixels[30:50, 26:38], pixels[50:90, 22:42], pixels[90:126, 24:40] = colours
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=80)
    return stream.getvalue()


@contextmanager
def small_disk(point: Path) -> Iterator[Path | None]:
    """A file system of 24 MiB, if this process may mount one."""
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(point)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode != 0:
        yield None
        return
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def run_strace(folder: Path) -> None:
    """Count the syncs between acknowledgements."""
    if shutil.which("strace") is None:
        click.echo("power cut: strace is not installed; not run")
        return
    log = folder.with_suffix(".strace")
    calls = "trace=fsync,fdatasync,msync,sync_file_range,write"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(log)]
    command += [*writer_command(folder, 0), "--batches", str(STRACE_BATCHES)]
    subprocess.run(command, check=True, capture_output=True)
    # A thread id, a call, and with -y the file that it is for.
    call = re.compile(r"^\d+\s+(\w+)\((\d+)<(.*?)>(.*)$")
    synced: list[Counter[str]] = []
    since: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        match = call.match(line)
        if match is None:
            continue
        name, number, path, rest = match.groups()
        if name == "write":
            if number == "1" and '"added' in rest:
                synced.append(since)
            if number == "1":
                since = Counter()
        else:
            since[f"{name} of {Path(path).name}"] += 1
    # The first makes the gallery, too.
    usual = synced[1:]
    without = sum(not any("-wal" in call for call in calls) for calls in usual)
    average = sum(map(Counter.total, usual)) / max(1, len(usual))
    total = sum(usual, Counter[str]())
    click.echo(
        f"power cut: {len(usual)} acknowledged writes of {BATCH} sightings, {average:.1f} syncs "
        f"each ({', '.join(f'{count} {call}' for call, count in total.most_common(3))}); "
        f"{without} acknowledged without a sync of the log before"
    )


def start_writer(folder: Path, first: int) -> "subprocess.Popen[str]":
    """A writer whose acknowledgements can be read."""
    return subprocess.Popen(writer_command(folder, first), stdout=subprocess.PIPE, text=True)


def writer_command(folder: Path, first: int) -> list[str]:
    """How the writer is started."""
    command = [sys.executable, "-m", "benchmarks.gallery_faults", "--write", str(folder)]
    return [*command, "--from", str(first)]


def describe(wrong: Counter[str]) -> str:
    """What went wrong, in words."""
    if not wrong:
        return (
            "nothing acknowledged was lost, nothing erased came back, no bytes of it in the files"
        )
    return "WRONG: " + ", ".join(f"{name} {count}" for name, count in sorted(wrong.items()))


if __name__ == "__main__":
    main()
