"""`adln gallery retention`: the rules for what is kept."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from adln.cli import options
from adln.cli.gallery_words import find_person, gallery, many, open_folder
from adln.cli.progress import warn
from adln.errors import SettingsError
from adln.gallery.records import Filter
from adln.gallery.retention import DAY_S, apply_retention
from adln.gallery.sqlite_gallery import SqliteGallery


@gallery.command()
@options.folder
@click.option("--keep", metavar="TIME", help='For how long: 30d, 12h; "ever" removes the rule.')
@click.option("--camera", "cameras", multiple=True, metavar="NUMBER=TIME", help="For one camera.")
@click.option("--person", "persons", multiple=True, metavar="WHO=TIME", help="For one person.")
@click.option("--max-templates", type=click.IntRange(0), help="Sightings a person; 0: no limit.")
@click.option("--max-unnamed", type=click.IntRange(0), help="Unassigned sightings; 0: no limit.")
@options.flag("--apply", "apply_now", help="Erase now what the rules do not keep.")
def retention(
    folder: Path,
    keep: str | None,
    cameras: tuple[str, ...],
    persons: tuple[str, ...],
    max_templates: int | None,
    max_unnamed: int | None,
    apply_now: bool,
) -> None:
    """Show, set and apply the rules for what FOLDER keeps. Rules not given stay as they are.

    A person's rule overrides their camera's, and a camera's the general one. Run it with
    --apply every hour or so, for example from cron.
    """
    with open_folder(folder) as opened:
        before = opened.retention
        rules = replace(
            before,
            keep_s=before.keep_s if keep is None else _keep(keep),
            camera_keep_s=_keep_by_number(before.camera_keep_s, cameras, _camera),
            person_keep_s=_keep_by_number(
                before.person_keep_s, persons, partial(_person, opened, before.person_keep_s)
            ),
            max_templates=before.max_templates if max_templates is None else max_templates or None,
            max_unnamed=before.max_unnamed if max_unnamed is None else max_unnamed or None,
        )
        if rules != before:
            opened.set_retention(rules)
        click.echo("\n".join(rules_in_words(rules)) or "no rules: everything is kept for ever")
        if apply_now:
            now_s = time.time()
            tidied = apply_retention(opened, rules, now_s=now_s)
            opened.compact_if_worthwhile()
            people = many(tidied.people, "person", "people")
            click.echo(
                f"erased: {tidied.expired:,} too old, {tidied.surplus_templates:,} surplus of "
                f"people, {tidied.surplus_unnamed:,} unassigned surplus; {opened.count():,} left"
                + (f"; of {people} without a name nothing is left" if tidied.people else "")
            )
            if later := opened.count(Filter(from_s=now_s + DAY_S)):
                warn(
                    f"{many(later, 'sighting')} dated more than a day later than now: a clock was "
                    "wrong, or is. They are kept until their time has come; if the clock is right "
                    "now, erase them with `adln gallery delete`.",
                    err=False,
                )


def _keep(text: str) -> float | None:
    if text == "ever":
        return None
    try:
        # Without a unit nobody can tell whether days were meant.
        keep_s = 0.0 if text.strip()[-1:].isdigit() else options.duration(text)
    except click.BadParameter:
        keep_s = 0.0
    if keep_s == 0:
        raise SettingsError(f'{text!r} is not a duration; write 30d, 12h, 90m, or "ever".')
    return keep_s


def _keep_by_number(
    before: Mapping[int, float], rules: tuple[str, ...], number_of: Callable[[str], int]
) -> dict[int, float]:
    result = dict(before)
    for rule in rules:
        who, equals, text = rule.rpartition("=")
        if not equals:
            raise SettingsError(f"{rule!r} is not a rule; write NUMBER=TIME, for example 3=7d.")
        keep_s, number = _keep(text), number_of(who)
        result.pop(number, None)
        if keep_s is not None:
            result[number] = keep_s
    return result


def _camera(text: str) -> int:
    if not re.fullmatch(r"\d{1,10}", text):
        raise SettingsError(f"{text!r} is no camera; write NUMBER=TIME, for example 3=7d.")
    return int(text)


def _person(opened: SqliteGallery, before: Mapping[int, float], text: str) -> int:
    # A rule may be older than the person's leaving.
    if text.isdecimal() and int(text) in before:
        return int(text)
    return find_person(opened, text)


def rules_in_words(retention: Any) -> list[str]:
    """The rules in words."""
    lines = [] if retention.keep_s is None else [f"sightings for {_span(retention.keep_s)}"]
    lines += [f"camera {n} for {_span(s)}" for n, s in sorted(retention.camera_keep_s.items())]
    lines += [f"person {n} for {_span(s)}" for n, s in sorted(retention.person_keep_s.items())]
    if retention.max_templates is not None:
        lines.append(f"at most {retention.max_templates:,} sightings a person and depth")
    if retention.max_unnamed is not None:
        lines.append(f"at most {retention.max_unnamed:,} unassigned sightings")
    return lines


def _span(seconds: float) -> str:
    unit = next((one for one in "dhm" if seconds >= options.UNITS_S[one]), "s")
    return f"{seconds / options.UNITS_S[unit]:g} {unit}"
