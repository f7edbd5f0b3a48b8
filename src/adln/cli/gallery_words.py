"""What commands share that speak of a gallery: opening it, naming people, and words."""

import getpass
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from adln.errors import GalleryError, SettingsError
from adln.gallery.interface import Gallery
from adln.gallery.milvus import MilvusGallery
from adln.gallery.names import is_same_name
from adln.gallery.records import Filter
from adln.gallery.sqlite_gallery import SqliteGallery


@click.group()
def gallery() -> None:
    """Enrol, list, name, merge and forget people, whose sightings are in one FOLDER."""


def open_folder(folder: Path, *, create: bool = False, low_memory: bool = False) -> SqliteGallery:
    """Open the gallery of a folder, for somebody at the command line."""
    return SqliteGallery(
        folder, create=create, low_memory=low_memory, actor=actor(), audit_searches=True
    )


def open_place(place: str, *, create: bool = False) -> Gallery:
    """Open the gallery of a folder, or of a Milvus server: "http://server:19530/name".

    Raises:
        GalleryError: see `SqliteGallery` and `MilvusGallery`; or the address has no name.
    """
    if not is_server(place):
        return SqliteGallery(Path(place), create=create)
    found = re.fullmatch(r"(https?://[^/]+)/([^/]+)/?", place)
    if found is None:
        raise GalleryError(
            f"{place}: expected an address and a gallery's name, as in http://localhost:19530/shop."
        )
    return MilvusGallery(found[1], found[2], create=create)


def is_server(place: str) -> bool:
    """Whether a gallery's place is an address, not a folder."""
    return re.match(r"https?://", place) is not None


def actor() -> str:
    """Who is at the keyboard, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # A container may run under a number that has no name.
        return "unknown user"


def find_person(opened: SqliteGallery, text: str) -> int:
    """A person by number or name: "2", "Ann", "id:2" or "name:2".

    Raises:
        GalleryError: there is nobody of that number or name; or there are two.
    """
    persons = opened.persons()
    # Who says which of the two it is, gets that and nothing else: somebody may be called "id:2",
    # and `forget id:2` must not take them for number 2. They are "name:id:2".
    number = None if text.startswith("name:") else text.removeprefix("id:")
    name = None if text.startswith("id:") else text.removeprefix("name:")
    by_id = [p for p in persons if number == str(p.person_id)]
    # Galleries of earlier versions may have two names that look like one.
    by_name = [p for p in persons if p.name == name] or [
        p for p in persons if is_same_name(p.name, name)
    ]
    found = {p.person_id: p for p in (*by_id, *by_name)}
    if len(found) > 1:
        both = " and ".join(called(p.person_id, p.name) for p in found.values())
        ways = " or ".join(f"id:{number}" for number in found)
        if by_id:
            ways = f"id:{by_id[0].person_id} for the number, name:{text} for the name"
        raise GalleryError(f"{opened.folder}: {text!r} could be {both}; write {ways}.")
    if not found:
        raise GalleryError(
            f"{opened.folder}: there is no person {text!r}; `adln gallery list` shows who there is."
        )
    return next(iter(found))


def find_person_or_nobody(opened: SqliteGallery, text: str) -> int | None:
    """As `find_person`; None for "nobody". Somebody who is called that is "name:nobody"."""
    return None if text == "nobody" else find_person(opened, text)


def moment(text: str) -> float:
    """Seconds since 1970 of a time such as 2026-11-22T14:30, in UTC unless it says otherwise."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{text!r} is not a time; write it as 2026-11-22T14:30.") from error
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()


def period(begin: str | None, end: str | None) -> Filter:
    """What was seen between the times of --from and --until; see `moment`."""
    from_s = None if begin is None else moment(begin)
    until_s = None if end is None else moment(end)
    try:
        return Filter(from_s=from_s, until_s=until_s)
    except GalleryError as error:
        raise SettingsError(f"--until {end} is not after --from {begin}.") from error


def when(time_s: float | None) -> str:
    """A time in UTC, to the minute."""
    if time_s is None:
        return "-"
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M")


def called(person_id: int, name: str | None) -> str:
    """A person by number and name."""
    return f"person {person_id}" + (f" ({name})" if name else "")


def many(count: int, one: str, more: str = "") -> str:
    """A count with its noun: 1 sighting, 2 sightings; `more` is the plural where it has no -s."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def short(value: Any) -> str:
    """A value, or its beginning."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"


def tick(is_fine: bool, text: str) -> None:
    """A line with a tick or a cross, in colour where there is some."""
    encoding = (sys.stdout.encoding or "").lower()
    marks = ("✓", "✗") if "utf" in encoding else ("ok", "WRONG")
    mark, colour = (marks[0], "green") if is_fine else (marks[1], "red")
    click.secho(f"  {mark} ", nl=False, fg=colour)
    click.echo(text)


def few(numbers: Sequence[int], most: int = 8) -> str:
    """The first of many numbers."""
    return ", ".join(map(str, numbers[:most])) + (", ..." if len(numbers) > most else "")
