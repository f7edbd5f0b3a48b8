"""`adln gallery`: who was seen: enrol, list, name, merge, split, forget, and look after it."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from adln.api.networks import Network
from adln.cli.gallery_cluster import cluster
from adln.cli.gallery_move import move
from adln.cli.gallery_people import assign, delete, forget, list_people, merge, name, split
from adln.cli.gallery_renew import renew
from adln.cli.gallery_routes import routes
from adln.cli.gallery_rules import retention, rules_in_words
from adln.cli.gallery_words import (
    called,
    folder_argument,
    many,
    moment,
    open_folder,
    short,
    tick,
    when,
)
from adln.cli.options import depth_option, file_argument, json_option, network_option, path_argument
from adln.cli.progress import counting, tell, tell_left_out
from adln.errors import SettingsError
from adln.gallery.enrolling import Enrolment, people_of
from adln.gallery.exchange import count_rows, export_parquet, import_parquet
from adln.gallery.records import NO_PERSON, Filter, as_time_seen


@click.group()
def gallery() -> None:
    """Enrol, list, name, merge and forget people, whose sightings are in one FOLDER."""


_COMMANDS = (
    list_people,
    name,
    assign,
    merge,
    split,
    delete,
    forget,
    retention,
    cluster,
    move,
    renew,
    routes,
)
for command in _COMMANDS:
    gallery.add_command(command)


@gallery.command()
@folder_argument
@json_option
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
        }
        rules = opened.retention
        facts["retention"] = json.loads(rules.to_json())
        facts["bytes"] = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    if as_json:
        click.echo(json.dumps(facts, indent=2))
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
        ("kept", "; ".join(rules_in_words(rules)) or "for ever (no retention set)"),
    ]
    click.secho(str(folder), bold=True)
    for label, text in lines:
        click.echo(f"  {label:<15}{text}")


@gallery.command()
@folder_argument
@path_argument("sources", nargs=-1, required=True)
@network_option(
    help="Name or file of a network; all sightings of a gallery are of one network or one space."
)
@click.option("--name", help="Name of the person shown; a new person if the name is unknown.")
@click.option("--each-folder", is_flag=True, help="Each sub-folder is a person, with its name.")
@click.option("--nobody", is_flag=True, help="Store them without saying who it is.")
@depth_option
@click.option(
    "--camera", "camera_id", type=click.IntRange(0), default=0, show_default=True, help="Camera."
)
@click.option("--time", "seen", help="When, as 2026-11-22T14:30 in UTC; default: now.")
@click.option("--thumbnails", is_flag=True, help="Keep a small picture of each sighting, too.")
@click.option("--low-memory", is_flag=True, help="A new gallery: less memory and disk, slower.")
@click.pass_context
def enrol(
    context: click.Context,
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
    when_s = time.time() if seen is None else as_time_seen(moment(seen), "--time")
    look = Network(network, depth=depth)
    stored = here = 0
    left_out: list[str] = []
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
                click.secho(
                    f"{result.refused:,} look like somebody who asked not to be enrolled again.",
                    fg="yellow",
                )
    if not stored + here:
        tell("error", "nothing was stored, and nobody enrolled.", colour="red")
    context.exit(0 if stored + here else 1)


@gallery.command("import")
@folder_argument
@file_argument("file")
@click.option("--low-memory", is_flag=True, help="A new gallery: less memory and disk, slower.")
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
            click.secho(
                "The others are here already, or of people who were forgotten here or asked not to "
                "be enrolled.",
                fg="yellow",
            )
        if not opened.retention.has_ages:
            click.secho(
                f"An export has no retention rules, and {folder} has none that erases what is old; "
                "`adln gallery retention` sets them.",
                fg="yellow",
                err=True,
            )


@gallery.command()
@folder_argument
@file_argument("file")
def export(folder: Path, file: Path) -> None:
    """Write all sightings of FOLDER, with names and pictures, to FILE (Parquet)."""
    with open_folder(folder) as opened, counting(opened.count(), "exporting") as on_progress:
        written = export_parquet(opened, file, on_progress=on_progress)
    click.echo(f"{file}: {many(written, 'sighting')}")
    click.secho(
        "What is forgotten in the gallery later stays in this file; keep it as safe as the gallery "
        "and not for longer.",
        fg="yellow",
        err=True,
    )


@gallery.command()
@folder_argument
def compact(folder: Path) -> None:
    """Free the space of erased sightings, so that searches are as fast as they can be."""
    with open_folder(folder) as opened:
        opened.compact()
        click.echo(f"{folder}: {many(opened.count(), 'sighting')}, without gaps")


@gallery.command()
@folder_argument
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="Rows shown.")
@click.option("--verify", is_flag=True, help="Check that no row was changed or removed.")
@click.option("--expect", metavar="DIGEST", help="A newest digest from before; implies --verify.")
@click.option("--json", "as_json", is_flag=True, help="Print all rows as JSON.")
@click.pass_context
def audit(
    context: click.Context, folder: Path, last: int, verify: bool, expect: str | None, as_json: bool
) -> None:
    """Show or verify the log of searches, merges and erasures.

    Each row holds a digest over itself and all rows before it. Keep the newest digest somewhere
    else and --expect it later: this also detects a log that was truncated or rewritten. The exit
    status is 1 if something is wrong.
    """
    with open_folder(folder) as opened:
        if verify or expect is not None:
            check = opened.check_audit(expected_digest=expect)
            if as_json:
                click.echo(json.dumps({"is_sound": check.is_sound, **vars(check)}, indent=2))
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
            context.exit(0 if check.is_sound else 1)
        entries = opened.audit_entries()
    if as_json:
        click.echo(json.dumps([vars(entry) for entry in entries], indent=2))
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
