"""`adln gallery list`, `name`, `merge`, `forget` and so on: who is who, and who is forgotten."""

import sys
from pathlib import Path
from typing import Any

import click

from adln.cli import options
from adln.cli.gallery_words import (
    called,
    few,
    find_person,
    find_person_or_nobody,
    gallery,
    many,
    open_folder,
    tick,
    when,
)
from adln.cli.progress import print_json, tell, warn
from adln.datasets.listing import shown
from adln.errors import GalleryError
from adln.gallery.look_alikes import LEAST_SIMILARITY, LookAlike, find_look_alikes
from adln.gallery.records import NO_PERSON, Erasure, Filter

_SHOWN = ("camera_id", "time_s", "track_id", "box_xyxy", "quality")


@gallery.command("list")
@options.folder
@click.option("--person", help="Number or name, or nobody: list the sightings of these.")
@options.as_json
def list_people(folder: Path, person: str | None, as_json: bool) -> None:
    """List the people in FOLDER, or the sightings of one of them or of nobody."""
    with open_folder(folder) as opened:
        if person is not None:
            number = find_person_or_nobody(opened, person)
            wanted = Filter(persons=frozenset({NO_PERSON if number is None else number}))
            records = [record for batch in opened.iterate(wanted) for record in batch]
            _list_sightings(records, as_json=as_json)
            return
        persons = opened.persons()
    if as_json:
        print_json([vars(one) for one in persons])
        return
    if not persons:
        click.echo(f"{folder}: nobody is enrolled yet.")
        return
    width = max([len(one.name or "") for one in persons] + [6])
    click.secho(
        f"{'person':>7}  {'name':<{width}}{'sightings':>11}  {'first seen (UTC)':<18}"
        f"{'last seen (UTC)':<18}cameras",
        bold=True,
    )
    for one in persons:
        cameras = ", ".join(map(str, one.cameras))
        click.echo(
            f"{one.person_id:>7}  {one.name or '-':<{width}}{one.num_sightings:>11,}  "
            f"{when(one.first_seen_s):<18}{when(one.last_seen_s):<18}{cameras}"
        )


@gallery.command()
@options.folder
@click.argument("person")
@click.argument("new_name")
def name(folder: Path, person: str, new_name: str) -> None:
    """Name PERSON (number or old name) NEW_NAME."""
    with open_folder(folder) as opened:
        person_id = find_person(opened, person)
        opened.name_person(person_id, new_name)
    click.echo(f"person {person_id} is now called {new_name}")


@gallery.command()
@options.folder
@click.argument("person")
@click.argument("sightings", nargs=-1, required=True, type=int)
def assign(folder: Path, person: str, sightings: tuple[int, ...]) -> None:
    """Say that SIGHTINGS (numbers) show PERSON; "nobody" unassigns them."""
    with open_folder(folder) as opened:
        person_id = find_person_or_nobody(opened, person)
        changed = opened.assign(sightings, person_id)
    click.echo(f"{many(changed, 'sighting')} changed")


@gallery.command()
@options.folder
@click.argument("into")
@click.argument("others", nargs=-1, required=True)
def merge(folder: Path, into: str, others: tuple[str, ...]) -> None:
    """Merge OTHERS into the person INTO (numbers or names)."""
    with open_folder(folder) as opened:
        person_id = find_person(opened, into)
        given = {other: find_person(opened, other) for other in others}
        for other, number in given.items():
            if number == person_id:
                raise GalleryError(
                    f"{folder}: {other!r} is person {person_id}, too, and nobody is merged with "
                    "themselves. Name two persons; `adln gallery list` shows who there is."
                )
        moved = opened.merge(given.values(), person_id)
    click.echo(f"{many(moved, 'sighting')} moved to person {person_id}")


@gallery.command()
@options.folder
@click.argument("sightings", nargs=-1, required=True, type=int)
@click.option("--name", "new_name", help="Name of the new person.")
def split(folder: Path, sightings: tuple[int, ...], new_name: str | None) -> None:
    """Make SIGHTINGS (numbers) a new person of their own."""
    with open_folder(folder) as opened:
        person_id = opened.split(sightings, new_name)
    click.echo(f"{many(len(set(sightings)), 'sighting')} moved to new person {person_id}")


@gallery.command()
@options.folder
@click.argument("sightings", nargs=-1, required=True, type=int)
def delete(folder: Path, sightings: tuple[int, ...]) -> None:
    """Erase single SIGHTINGS (numbers)."""
    with open_folder(folder) as opened:
        there = {one.sighting_id for one in opened.get(set(sightings))}
        erased = opened.delete(sightings)
    click.echo(f"{many(erased, 'sighting')} erased")
    if missing := sorted(set(sightings) - there):
        warn(f"not there: {shown(map(str, missing))}", err=False)


@gallery.command()
@options.folder
@click.argument("person")
@click.option(
    "--also",
    multiple=True,
    metavar="PERSON",
    help="Another entry of the same person, to erase as well.",
)
@click.option(
    "--alike",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="COSINE",
    help="Cosine from which others are shown as alike; default: 0.7.",
)
@click.option(
    "--suppress",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="COSINE",
    help="Keep one mean embedding after all, only to refuse new pictures at least this alike.",
)
@options.flag("--yes", help="Do not ask.")
@options.as_json
def forget(
    folder: Path,
    person: str,
    also: tuple[str, ...],
    alike: float | None,
    suppress: float | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase PERSON (number or name) everywhere, and verify it.

    Shows first who looks like them: people that were split off from them, and unassigned
    sightings, are not erased with them. Name such people with --also, assign such sightings first.

    Their number is never used again and their name cannot be enrolled again. No template is kept
    unless --suppress asks for one; without it, new pictures of them are stored as those of an
    unknown person. The exit status is 1 if any of their data is found afterwards.
    """
    with open_folder(folder) as opened:
        gone = list(dict.fromkeys(find_person(opened, one) for one in (person, *also)))
        names = {one.person_id: one.name for one in opened.persons()}
        least = LEAST_SIMILARITY if alike is None else alike
        others = {
            (one.person_id, one.sighting_ids): one
            for number in gone
            for one in find_look_alikes(opened, number, least=least)
            if one.person_id not in gone
        }
        for one in others.values():
            _tell_of(one, names)
        if not yes:
            who = " and ".join(called(number, names[number]) for number in gone)
            click.confirm(f"Erase {who} for good?", abort=True, err=True)
        erasures = [opened.forget(number, suppress_above=suppress) for number in gone]
    if as_json:
        facts = [{"is_proved": one.is_proved, **vars(one)} for one in erasures]
        likely = [vars(one) for one in others.values()]
        more = {"also": facts[1:]} if also else {}
        print_json({**facts[0], **more, "look_alikes": likely})
    else:
        for erasure in erasures:
            _tell_erasure(erasure)
        if suppress is not None:
            click.echo(f"  new pictures with a cosine of {suppress:g} or more will be refused")
    sys.exit(1 if any(erasure.left_behind for erasure in erasures) else 0)


def _tell_of(one: LookAlike, names: dict[int, str | None]) -> None:
    """That somebody is alike, and what to do about it."""
    if one.person_id is None:
        unassigned = many(len(one.sighting_ids), "unassigned sighting")
        which = f"{unassigned} ({few(one.sighting_ids)})"
        what = f"{which}; if it is them, `adln gallery assign` these first"
    else:
        who = called(one.person_id, names.get(one.person_id))
        count = many(len(one.sighting_ids), "sighting")
        what = f"{who}, {count}; if it is them, add --also id:{one.person_id}"
    tell("looks alike", f"{one.similarity:.2f}, {what}")


def _tell_erasure(erasure: Erasure) -> None:
    pictures = f", {many(erasure.thumbnails, 'picture')}" if erasure.thumbnails else ""
    click.echo(
        f"person {erasure.person_id}: {many(erasure.sightings, 'sighting')}{pictures} erased"
    )
    tick(erasure.found_by_search == 0, f"searched for again: {erasure.found_by_search} found")
    if erasure.files_searched:
        tick(
            erasure.traces_found == 0,
            f"bytes looked for in {many(erasure.files_searched, 'file')}: "
            f"{erasure.traces_found} found",
        )
    else:
        click.echo("  the server's files cannot be read from here; this is no proof for them")


def _list_sightings(records: list[Any], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "sighting_id": record.sighting_id,
                "depth": record.model.depth,
                "model": record.model.digest,
                **{name: getattr(record, name) for name in _SHOWN},
                "has_thumbnail": record.thumbnail is not None,
            }
            for record in records
        ]
        print_json(rows)
        return
    click.secho(
        f"{'sighting':>9}  {'seen (UTC)':<18}{'camera':>7}{'track':>8}{'quality':>9}  depth "
        "picture",
        bold=True,
    )
    for record in records:
        track = "-" if record.track_id is None else record.track_id
        picture = "yes" if record.thumbnail is not None else "no"
        click.echo(
            f"{record.sighting_id:>9}  {when(record.time_s):<18}{record.camera_id:>7}{track:>8}"
            f"{record.quality:>9.2f}  {record.model.depth_name}  {picture}"
        )
