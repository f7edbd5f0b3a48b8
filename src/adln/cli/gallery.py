"""`adln gallery`: who was seen: enrol, list, name, merge, split, forget, and look after it."""

import getpass
import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adln.cli.gallery_cluster import cluster
from adln.cli.gallery_move import move
from adln.cli.gallery_routes import routes
from adln.cli.options import NetworkOption, duration
from adln.cli.progress import counting
from adln.runtime.shipped import DEFAULT

if TYPE_CHECKING:
    from adln.gallery.sqlite_gallery import SqliteGallery

_UNITS_S = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_ENROL_BATCH = 256
_NAMED = 20
# How a stored thumbnail looks, unless pictures are not kept at all.
_THUMBNAIL_QUALITY = 80

folder_argument = click.argument("folder", type=click.Path(path_type=Path))


@click.group()
def gallery() -> None:
    """Who was seen: people and their sightings, in one FOLDER."""


gallery.add_command(cluster)
gallery.add_command(move)
gallery.add_command(routes)


@gallery.command()
@folder_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def info(folder: Path, as_json: bool) -> None:
    """Say what the gallery in FOLDER holds."""
    from adln.gallery.records import NO_PERSON, Filter

    with _open(folder) as opened:
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
    depths = ", ".join(f"{count:,} at Res{depth}" for depth, count in facts["by_depth"].items())
    made_by = [str(model).removeprefix("model ") for model in models] or ["none yet"]
    lines = [
        ("sightings", f"{facts['sightings']:,}" + (f" ({depths})" if depths else "")),
        ("of nobody yet", f"{facts['unnamed_sightings']:,}"),
        ("people", f"{facts['persons']:,}, {facts['named_persons']:,} with a name"),
        *zip(["model", *[""] * len(made_by)], made_by, strict=False),
        ("search", f"exact, {facts['engine']}{', low memory' if facts['low_memory'] else ''}"),
        ("on disk", f"{facts['bytes'] / 2**20:,.1f} MiB"),
        ("kept", "; ".join(_rules(rules)) or "for ever (no retention set)"),
    ]
    click.secho(str(folder), bold=True)
    for label, text in lines:
        click.echo(f"  {label:<15}{text}")


@gallery.command()
@folder_argument
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--network",
    "model_path",
    cls=NetworkOption,
    default=DEFAULT,
    show_default=True,
    type=click.Path(path_type=Path),
    help="File of `adln export`, res1 or res2; in a gallery all of one file or one space.",
)
@click.option("--name", help="Whom the pictures show; a new person if nobody is called that.")
@click.option("--nobody", is_flag=True, help="Store them without saying who it is.")
@click.option("--depth", type=click.IntRange(1, 4), help="The deepest of the file if left out.")
@click.option(
    "--camera", "camera_id", type=click.IntRange(0), default=0, show_default=True, help="Camera."
)
@click.option("--time", "seen", help="When, as 2026-11-22T14:30 in UTC; now if left out.")
@click.option("--thumbnails", is_flag=True, help="Keep a small picture of each sighting, too.")
@click.option("--low-memory", is_flag=True, help="A new gallery: less memory and disk, slower.")
def enrol(
    folder: Path,
    sources: tuple[Path, ...],
    model_path: Path,
    name: str | None,
    nobody: bool,
    depth: int | None,
    camera_id: int,
    seen: str | None,
    thumbnails: bool,
    low_memory: bool,
) -> None:
    """Store the pictures of SOURCES (files, folders, lists) in the gallery in FOLDER.

    The gallery is made if there is none. Pictures of one person go together: with --name they are
    that person's; without, a new person's who has no name yet.
    """
    from adln.errors import SettingsError
    from adln.gallery.records import ModelKey, Sighting
    from adln.runtime.embedder import OnnxEmbedder
    from adln.runtime.pictures import find_pictures

    if name is not None and nobody:
        raise SettingsError("--name says who it is and --nobody says that nobody knows; one only.")
    when = time.time() if seen is None else moment(seen)
    embedder = OnnxEmbedder(model_path)
    chosen = embedder.depths[-1] if depth is None else depth
    if chosen not in embedder.depths:
        raise SettingsError(
            f"{model_path} has no depth {chosen}; it has: {', '.join(map(str, embedder.depths))}."
        )
    key = ModelKey(embedder.model.sha256, chosen, embedder.dim, embedder.manifest.space_of(chosen))
    paths = find_pictures(sources)
    stored = refused = 0
    with _open(folder, create=True, low_memory=low_memory) as opened:
        person_id = None if nobody else _person_to_fill(opened, name)
        with counting(len(paths), "enrolling") as on_progress:
            for start in range(0, len(paths), _ENROL_BATCH):
                part = paths[start : start + _ENROL_BATCH]
                result = embedder.embed_pictures(part, on_progress=on_progress)
                for picture in result.unusable[:_NAMED]:
                    click.secho("left out: ", fg="yellow", err=True, nl=False)
                    click.echo(picture.reason, err=True)
                ids = opened.add(
                    [
                        Sighting(
                            embedding=embedding,
                            model=key,
                            camera_id=camera_id,
                            time_s=when,
                            person_id=person_id,
                            thumbnail=_thumbnail(part[index]) if thumbnails else None,
                        )
                        for index, embedding in zip(
                            result.indices, result.embeddings[chosen], strict=True
                        )
                    ]
                )
                stored += sum(sighting_id is not None for sighting_id in ids)
                refused += sum(sighting_id is None for sighting_id in ids)
        who = "nobody yet" if person_id is None else _called(person_id, name)
        click.echo(f"{folder}: {stored:,} of {len(paths):,} pictures stored, {who}, Res{chosen}")
        if refused:
            click.secho(
                f"{refused:,} look like somebody who asked not to be enrolled again.", fg="yellow"
            )


@gallery.command("list")
@folder_argument
@click.option("--person", help="Number or name: list this person's sightings.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def list_people(folder: Path, person: str | None, as_json: bool) -> None:
    """List the people in FOLDER, or the sightings of one of them."""
    from adln.gallery.records import Filter

    with _open(folder) as opened:
        if person is not None:
            wanted = Filter(persons=frozenset({_find_person(opened, person)}))
            records = [record for batch in opened.iterate(wanted) for record in batch]
            _list_sightings(records, as_json=as_json)
            return
        persons = opened.persons()
    if as_json:
        click.echo(json.dumps([vars(one) for one in persons], indent=2))
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
            f"{_when(one.first_seen_s):<18}{_when(one.last_seen_s):<18}{cameras}"
        )


@gallery.command()
@folder_argument
@click.argument("person")
@click.argument("new_name")
def name(folder: Path, person: str, new_name: str) -> None:
    """Call PERSON (number or old name) NEW_NAME."""
    with _open(folder) as opened:
        person_id = _find_person(opened, person)
        opened.name_person(person_id, new_name)
    click.echo(f"person {person_id} is now called {new_name}")


@gallery.command()
@folder_argument
@click.argument("person")
@click.argument("sightings", nargs=-1, required=True, type=int)
def assign(folder: Path, person: str, sightings: tuple[int, ...]) -> None:
    """Say that SIGHTINGS (numbers) show PERSON; "nobody" takes it back."""
    with _open(folder) as opened:
        person_id = None if person == "nobody" else _find_person(opened, person)
        changed = opened.assign(sightings, person_id)
    click.echo(f"{_many(changed, 'sighting')} changed")


@gallery.command()
@folder_argument
@click.argument("into")
@click.argument("others", nargs=-1, required=True)
def merge(folder: Path, into: str, others: tuple[str, ...]) -> None:
    """Make OTHERS one with the person INTO (numbers or names)."""
    with _open(folder) as opened:
        person_id = _find_person(opened, into)
        moved = opened.merge([_find_person(opened, other) for other in others], person_id)
    click.echo(f"{_many(moved, 'sighting')} moved to person {person_id}")


@gallery.command()
@folder_argument
@click.argument("sightings", nargs=-1, required=True, type=int)
@click.option("--name", "new_name", help="What the new person is called.")
def split(folder: Path, sightings: tuple[int, ...], new_name: str | None) -> None:
    """Make SIGHTINGS (numbers) a new person of their own."""
    with _open(folder) as opened:
        person_id = opened.split(sightings, new_name)
    click.echo(f"{_many(len(set(sightings)), 'sighting')} moved to new person {person_id}")


@gallery.command()
@folder_argument
@click.argument("sightings", nargs=-1, required=True, type=int)
def delete(folder: Path, sightings: tuple[int, ...]) -> None:
    """Erase single SIGHTINGS (numbers)."""
    with _open(folder) as opened:
        erased = opened.delete(sightings)
    click.echo(f"{_many(erased, 'sighting')} erased")


@gallery.command()
@folder_argument
@click.argument("person")
@click.option(
    "--suppress",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="COSINE",
    help="Keep one mean embedding after all, only to refuse new pictures at least this alike.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
@click.pass_context
def forget(
    context: click.Context,
    folder: Path,
    person: str,
    suppress: float | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase PERSON (number or name) everywhere, and prove it.

    Their number is never given again and their name cannot be enrolled again. No template stays
    behind unless --suppress asks for one, so that new pictures of them would be stored as those of
    somebody unknown. The exit status is 1 if anything of them is found again.
    """
    with _open(folder) as opened:
        person_id = _find_person(opened, person)
        if not yes:
            click.confirm(f"Erase person {person_id} for good?", abort=True, err=True)
        erasure = opened.forget(person_id, suppress_above=suppress)
    if as_json:
        click.echo(json.dumps({"is_proved": erasure.is_proved, **vars(erasure)}, indent=2))
    else:
        pictures = f", {_many(erasure.thumbnails, 'picture')}" if erasure.thumbnails else ""
        click.echo(f"person {person_id}: {_many(erasure.sightings, 'sighting')}{pictures} erased")
        _check(erasure.found_by_search == 0, f"searched for again: {erasure.found_by_search} found")
        if erasure.files_searched:
            _check(
                erasure.traces_found == 0,
                f"bytes looked for in {_many(erasure.files_searched, 'file')}: "
                f"{erasure.traces_found} found",
            )
        else:
            click.echo("  the server's files cannot be read from here; this is no proof for them")
        if suppress is not None:
            click.echo(f"  new pictures with a cosine of {suppress:g} or more will be refused")
    context.exit(1 if erasure.left_behind else 0)


@gallery.command()
@folder_argument
@click.option("--keep", metavar="TIME", help='For how long: 30d, 12h; "ever" takes the rule back.')
@click.option("--camera", "cameras", multiple=True, metavar="NUMBER=TIME", help="For one camera.")
@click.option("--person", "persons", multiple=True, metavar="NUMBER=TIME", help="For one person.")
@click.option("--max-templates", type=click.IntRange(0), help="Sightings a person; 0: no limit.")
@click.option("--max-unnamed", type=click.IntRange(0), help="Sightings of nobody; 0: no limit.")
@click.option("--apply", "apply_now", is_flag=True, help="Erase now what the rules do not keep.")
def retention(
    folder: Path,
    keep: str | None,
    cameras: tuple[str, ...],
    persons: tuple[str, ...],
    max_templates: int | None,
    max_unnamed: int | None,
    apply_now: bool,
) -> None:
    """Show, set and apply the rules for what FOLDER keeps. What is not named stays as it is.

    A person's rule goes before their camera's, and that before the general one. Run it with
    --apply every hour or so, for example from cron.
    """
    from dataclasses import replace

    from adln.gallery.retention import apply_retention

    with _open(folder) as opened:
        before = opened.retention
        rules = replace(
            before,
            keep_s=before.keep_s if keep is None else _keep(keep),
            camera_keep_s=_keep_by_number(before.camera_keep_s, cameras),
            person_keep_s=_keep_by_number(before.person_keep_s, persons),
            max_templates=before.max_templates if max_templates is None else max_templates or None,
            max_unnamed=before.max_unnamed if max_unnamed is None else max_unnamed or None,
        )
        if rules != before:
            opened.set_retention(rules)
        click.echo("\n".join(_rules(rules)) or "no rules: everything is kept for ever")
        if apply_now:
            tidied = apply_retention(opened, rules, now_s=time.time())
            opened.compact_if_worthwhile()
            click.echo(
                f"erased: {tidied.expired:,} too old, {tidied.surplus_templates:,} surplus of "
                f"people, {tidied.surplus_unnamed:,} surplus of nobody; {opened.count():,} left"
            )


@gallery.command("import")
@folder_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--low-memory", is_flag=True, help="A new gallery: less memory and disk, slower.")
def import_file(folder: Path, file: Path, low_memory: bool) -> None:
    """Add the sightings of FILE (Parquet, of `adln gallery export`) to FOLDER."""
    from adln.gallery.exchange import count_rows, import_parquet

    rows = count_rows(file)
    with _open(folder, create=True, low_memory=low_memory) as opened:
        with counting(rows, "importing") as on_progress:
            stored = import_parquet(opened, file, on_progress=on_progress)
        click.echo(f"{folder}: {stored:,} of {rows:,} sightings stored")
        if stored < rows:
            click.secho("The others asked not to be enrolled again.", fg="yellow")


@gallery.command()
@folder_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def export(folder: Path, file: Path) -> None:
    """Write all sightings of FOLDER, with names and pictures, to FILE (Parquet)."""
    from adln.gallery.exchange import export_parquet

    with _open(folder) as opened, counting(opened.count(), "exporting") as on_progress:
        written = export_parquet(opened, file, on_progress=on_progress)
    click.echo(f"{file}: {_many(written, 'sighting')}")
    click.secho(
        "What is forgotten in the gallery later stays in this file; keep it as safe as the gallery "
        "and not for longer.",
        fg="yellow",
        err=True,
    )


@gallery.command()
@folder_argument
def compact(folder: Path) -> None:
    """Give back the room of what was erased, so that searches are as quick as they can be."""
    with _open(folder) as opened:
        opened.compact()
        click.echo(f"{folder}: {_many(opened.count(), 'sighting')}, without gaps")


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
    else and --expect it later: then even a log that was cut off, or made anew, is found out. The
    exit status is 1 if something is wrong.
    """
    with _open(folder) as opened:
        if verify or expect is not None:
            check = opened.check_audit(expected_digest=expect)
            if as_json:
                click.echo(json.dumps({"is_sound": check.is_sound, **vars(check)}, indent=2))
            else:
                broken = check.first_broken
                _check(
                    broken is None,
                    f"{_many(check.entries, 'row')}, none changed or removed"
                    if broken is None
                    else f"row {broken} was changed, or a row before it was removed",
                )
                if expect is not None:
                    _check(bool(check.holds_expected), "the expected digest is among them")
                click.echo(f"  newest digest: {check.newest_digest}")
            context.exit(0 if check.is_sound else 1)
        entries = opened.audit_entries()
    if as_json:
        click.echo(json.dumps([vars(entry) for entry in entries], indent=2))
        return
    for entry in entries[-last:]:
        details = ", ".join(
            f"{key} {_short(value)}"
            for key, value in entry.details.items()
            if value not in (None, {})
        )
        click.echo(
            f"{entry.number:>6}  {_when(entry.time_s)}  {entry.actor:<12} "
            f"{entry.action:<10} {details}"
        )


def _open(folder: Path, *, create: bool = False, low_memory: bool = False) -> "SqliteGallery":
    from adln.gallery.sqlite_gallery import SqliteGallery

    return SqliteGallery(
        folder, create=create, low_memory=low_memory, actor=actor(), audit_searches=True
    )


def actor() -> str:
    """Who is at the keyboard, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # A container may run under a number that has no name.
        return "unknown user"


def _person_to_fill(opened: "SqliteGallery", name: str | None) -> int:
    if name is not None:
        for person in opened.persons():
            if person.name == name:
                return person.person_id
    return opened.enrol(name)


def _find_person(opened: "SqliteGallery", text: str) -> int:
    """A person by number or name."""
    from adln.errors import GalleryError

    for person in opened.persons():
        if text == person.name or text == str(person.person_id):
            return person.person_id
    raise GalleryError(
        f"{opened.folder}: there is no person {text!r}; `adln gallery list` shows who there is."
    )


def _list_sightings(records: list[Any], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "sighting_id": record.sighting_id,
                "depth": record.model.depth,
                "model": record.model.digest,
                "camera_id": record.camera_id,
                "time_s": record.time_s,
                "track_id": record.track_id,
                "box_xyxy": record.box_xyxy,
                "quality": record.quality,
                "has_thumbnail": record.thumbnail is not None,
            }
            for record in records
        ]
        click.echo(json.dumps(rows, indent=2))
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
            f"{record.sighting_id:>9}  {_when(record.time_s):<18}{record.camera_id:>7}{track:>8}"
            f"{record.quality:>9.2f}  Res{record.model.depth}  {picture}"
        )


def _thumbnail(path: Path) -> bytes:
    import io

    from PIL import Image

    from adln.crops import read_crop

    stream = io.BytesIO()
    crop = read_crop(path, height_px=128, width_px=64)
    Image.fromarray(crop).save(stream, "JPEG", quality=_THUMBNAIL_QUALITY)
    return stream.getvalue()


def moment(text: str) -> float:
    """Seconds since 1970 of a time such as 2026-11-22T14:30, in UTC unless it says otherwise."""
    from adln.errors import SettingsError

    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{text!r} is not a time; write it as 2026-11-22T14:30.") from error
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()


def _keep(text: str) -> float | None:
    from adln.errors import SettingsError

    if text == "ever":
        return None
    try:
        # Without a unit nobody can tell whether days were meant.
        keep_s = 0.0 if text.strip()[-1:].isdigit() else duration(text)
    except click.BadParameter:
        keep_s = 0.0
    if keep_s == 0:
        raise SettingsError(f'{text!r} is not a time to keep; write 30d, 12h, 90m, or "ever".')
    return keep_s


def _keep_by_number(before: Any, rules: tuple[str, ...]) -> dict[int, float]:
    from adln.errors import SettingsError

    result = dict(before)
    for rule in rules:
        number, equals, text = rule.partition("=")
        if not equals or not number.isdecimal():
            raise SettingsError(f"{rule!r} is no rule; write NUMBER=TIME, for example 3=7d.")
        keep_s = _keep(text)
        result.pop(int(number), None)
        if keep_s is not None:
            result[int(number)] = keep_s
    return result


def _rules(retention: Any) -> list[str]:
    """The rules in words."""
    lines = [] if retention.keep_s is None else [f"sightings for {_span(retention.keep_s)}"]
    lines += [f"camera {n} for {_span(s)}" for n, s in sorted(retention.camera_keep_s.items())]
    lines += [f"person {n} for {_span(s)}" for n, s in sorted(retention.person_keep_s.items())]
    if retention.max_templates is not None:
        lines.append(f"at most {retention.max_templates:,} sightings a person and depth")
    if retention.max_unnamed is not None:
        lines.append(f"at most {retention.max_unnamed:,} sightings of nobody")
    return lines


def _span(seconds: float) -> str:
    for unit, length_s in _UNITS_S.items():
        if seconds >= length_s:
            return f"{seconds / length_s:g} {unit}"
    return f"{seconds:g} s"


def _when(time_s: float | None) -> str:
    if time_s is None:
        return "-"
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M")


def _called(person_id: int, name: str | None) -> str:
    return f"person {person_id}" + (f" ({name})" if name else "")


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _check(is_fine: bool, text: str) -> None:
    """A line with a tick or a cross, in colour where there is some."""
    encoding = (sys.stdout.encoding or "").lower()
    marks = ("✓", "✗") if "utf" in encoding else ("ok", "WRONG")
    click.secho(
        f"  {marks[0] if is_fine else marks[1]} ", nl=False, fg="green" if is_fine else "red"
    )
    click.echo(text)
