"""`adln gallery`: who was seen: enrol, list, name, merge, split, forget, and look after it."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from adln.api.networks import Network
from adln.cli import (  # noqa: F401 - these add their commands to the group
    gallery_cluster,
    gallery_move,
    gallery_people,
    gallery_routes,
    options,
)
from adln.cli.gallery_rules import rules_in_words
from adln.cli.gallery_words import called, gallery, many, moment, open_folder, short, tick, when
from adln.cli.progress import counting, print_json, tell, tell_left_out, warn
from adln.datasets.pictures import find_pictures
from adln.errors import SettingsError
from adln.gallery.enrolling import Enrolment, people_of
from adln.gallery.exchange import count_rows, export_parquet, import_parquet
from adln.gallery.records import NO_PERSON, Filter, as_time_seen


@gallery.command()
@options.folder
@options.as_json
def info(folder: Path, as_json: bool) -> None:
    """Show what the gallery in FOLDER holds: sightings, people, network, rules, size."""
    with open_folder(folder) as opened:
        models = opened.models
        persons = opened.persons()
        facts: dict[str, Any] = {
            "folder": str(folder),
            "models": [asdict(model) for model in models],
            "sightings": opened.count(),
            "unnamed_sightings": opened.count(Filter(persons=frozenset({NO_PERSON}))),
            "persons": len(persons),
            "named_persons": sum(person.name is not None for person in persons),
            "by_depth": {
                depth: count
                for depth in (1, 2, 3, 4)
                if (count := opened.count(Filter(depth=depth)))
            },
            "engine": opened.engine,
            "low_memory": opened.low_memory,
            "retention": json.loads(opened.retention.to_json()),
            "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        }
        rules = rules_in_words(opened.retention)
    if as_json:
        print_json(facts)
        return
    called_depths = {model.depth: model.depth_name for model in models}
    depths = ", ".join(
        f"{count:,} at {called_depths.get(depth, f'Res{depth}')}"
        for depth, count in facts["by_depth"].items()
    )
    made_by = [str(model).removeprefix("network ") for model in models] or ["none yet"]
    lines = [
        ("sightings", f"{facts['sightings']:,}" + (f" ({depths})" if depths else "")),
        ("unassigned", f"{facts['unnamed_sightings']:,}"),
        ("people", f"{facts['persons']:,}, {facts['named_persons']:,} with a name"),
        *zip(["network", *[""] * len(made_by)], made_by, strict=False),
        ("search", f"exact, {facts['engine']}{', low memory' if facts['low_memory'] else ''}"),
        ("on disk", f"{facts['bytes'] / 2**20:,.1f} MiB"),
        ("kept", "; ".join(rules) or "for ever (no retention set)"),
    ]
    click.secho(str(folder), bold=True)
    for label, text in lines:
        click.echo(f"  {label:<15}{text}")


@gallery.command()
@options.folder
@options.path_argument("sources", nargs=-1, required=True)
@options.network(
    help="Name or file of a network; all sightings of a gallery are of one network or one space."
)
@click.option("--name", help="Name of the person shown; a new person if the name is unknown.")
@options.flag("--each-folder", help="Each sub-folder is a person, with its name.")
@options.flag("--nobody", help="Store them without saying who it is.")
@options.depth
@options.shown("--camera", "camera_id", type=click.IntRange(0), default=0, help="Camera.")
@click.option("--time", "seen", help="When, as 2026-11-22T14:30 in UTC; default: now.")
@options.flag("--thumbnails", help="Keep a small picture of each sighting, too.")
@options.flag("--low-memory", help="A new gallery: less memory and disk, slower.")
def enrol(
    folder: Path,
    sources: tuple[Path, ...],
    network: Path,
    name: str | None,
    each_folder: bool,
    nobody: bool,
    depth: int | None,
    camera_id: int,
    seen: str | None,
    thumbnails: bool,
    low_memory: bool,
) -> None:
    """Store the pictures of SOURCES (files, folders, lists) in the gallery in FOLDER.

    The gallery is made if there is none. Pictures of one person go together: with --name they are
    that person's; without, a new person's who has no name yet; with --each-folder each sub-folder
    is a person. The exit status is 1 if nothing could be stored.
    """
    if (name is not None) + nobody + each_folder > 1:
        raise SettingsError(
            "--name says who it is, --nobody that nobody knows, and --each-folder that sub-folders "
            "are people; one only."
        )
    people = people_of(sources, name=name, nobody=nobody, each_folder=each_folder)
    left_out: list[str] = []
    find_pictures(sources, on_left_out=left_out.append)
    when_s = time.time() if seen is None else as_time_seen(moment(seen), "--time")
    look = Network(network, depth=depth)
    stored = here = 0
    with open_folder(folder, create=True, low_memory=low_memory) as opened:
        enrolment = Enrolment(
            opened,
            look.embedder,
            look.key,
            camera_id=camera_id,
            time_s=when_s,
            thumbnails=thumbnails,
            on_left_out=left_out.append,
        )
        total = sum(len(one.paths) for one in people)
        with counting(total, "enrolling") as on_progress:
            done = [enrolment.store(one, on_progress) for one in people]
        tell_left_out(left_out)
        for one, result in zip(people, done, strict=True):
            stored += result.stored
            here += result.here
            who = called(result.person_id, one.name) if result.person_id else "unassigned"
            click.echo(
                f"{folder}: {result.stored:,} of {len(one.paths):,} pictures stored, {who}, "
                f"{look.key.depth_name}"
            )
            if result.here:
                click.secho(f"{result.here:,} are in the gallery already.", fg="yellow")
            if result.refused:
                warn(
                    f"{result.refused:,} look like somebody who asked not to be enrolled again.",
                    err=False,
                )
    if not stored + here:
        tell("error", "nothing was stored, and nobody enrolled.", colour="red")
        sys.exit(1)


@gallery.command("import")
@options.folder
@options.file_argument("file")
@options.flag("--low-memory", help="A new gallery: less memory and disk, slower.")
def import_file(folder: Path, file: Path, low_memory: bool) -> None:
    """Add the sightings of FILE (Parquet, of `adln gallery export`) to FOLDER.

    Sightings that are in FOLDER already, and people who were forgotten there since, are skipped.
    What was changed in FOLDER stays: to go back to an export, import it into a new folder.
    """
    rows = count_rows(file)
    with open_folder(folder, create=True, low_memory=low_memory) as opened:
        with counting(rows, "importing") as on_progress:
            stored = import_parquet(opened, file, on_progress=on_progress)
        click.echo(f"{folder}: {stored:,} of {rows:,} sightings stored")
        if stored < rows:
            warn(
                "The others are here already, or of people who were forgotten here or asked not to "
                "be enrolled.",
                err=False,
            )
        if not opened.retention.has_ages:
            warn(
                f"An export has no retention rules, and {folder} has none that erases what is old; "
                "`adln gallery retention` sets them."
            )


@gallery.command()
@options.folder
@options.file_argument("file")
def export(folder: Path, file: Path) -> None:
    """Write all sightings of FOLDER, with names and pictures, to FILE (Parquet)."""
    with open_folder(folder) as opened, counting(opened.count(), "exporting") as on_progress:
        written = export_parquet(opened, file, on_progress=on_progress)
    click.echo(f"{file}: {many(written, 'sighting')}")
    warn(
        "What is forgotten in the gallery later stays in this file; keep it as safe as the gallery "
        "and not for longer."
    )


@gallery.command()
@options.folder
def compact(folder: Path) -> None:
    """Free the space of erased sightings, so that searches are as fast as they can be."""
    with open_folder(folder) as opened:
        opened.compact()
        click.echo(f"{folder}: {many(opened.count(), 'sighting')}, without gaps")


@gallery.command()
@options.folder
@options.shown("--last", type=click.IntRange(1), default=20, help="Rows shown.")
@options.flag("--verify", help="Check that no row was changed or removed.")
@click.option("--expect", metavar="DIGEST", help="A newest digest from before; implies --verify.")
@options.flag("--json", "as_json", help="Print all rows as JSON.")
def audit(folder: Path, last: int, verify: bool, expect: str | None, as_json: bool) -> None:
    """Show or verify the log of searches, merges and erasures.

    Each row holds a digest over itself and all rows before it. Keep the newest digest somewhere
    else and --expect it later: this also detects a log that was truncated or rewritten. The exit
    status is 1 if something is wrong.
    """
    with open_folder(folder) as opened:
        if verify or expect is not None:
            check = opened.check_audit(expected_digest=expect)
            if as_json:
                print_json({"is_sound": check.is_sound, **vars(check)})
            else:
                broken = check.first_broken
                tick(
                    broken is None,
                    f"{many(check.entries, 'row')}, none changed or removed"
                    if broken is None
                    else f"row {broken} was changed, or a row before it was removed",
                )
                if expect is not None:
                    tick(bool(check.holds_expected), "the expected digest is among them")
                click.echo(f"  newest digest: {check.newest_digest}")
            sys.exit(0 if check.is_sound else 1)
        entries = opened.audit_entries()
    if as_json:
        print_json([vars(entry) for entry in entries])
        return
    for entry in entries[-last:]:
        details = ", ".join(
            f"{key} {short(value)}"
            for key, value in entry.details.items()
            if value not in (None, {})
        )
        click.echo(
            f"{entry.number:>6}  {when(entry.time_s)}  {entry.actor:<12} "
            f"{entry.action:<10} {details}"
        )
