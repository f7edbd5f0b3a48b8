"""`adln gallery routes`: who went from where to where, and how long it took."""

import csv
import io
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import click

from adln.atomic import atomic_write
from adln.cli import options
from adln.cli.gallery_words import actor, gallery, period
from adln.cli.progress import mention
from adln.errors import SettingsError
from adln.gallery.routes import movements
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.roster import read_cameras


@gallery.command()
@options.path_argument("folder")
@click.option("--from", "from_time", help="Only from then on: 2026-11-22T14:30 (UTC).")
@click.option("--until", "--to", "until_time", help="Only before then.")
@options.shown(
    "--within",
    type=options.duration,
    default="1h",
    help="A way that takes longer does not count as direct.",
)
@options.file("--out", help="Write the routes here (CSV).")
def routes(
    folder: Path, from_time: str | None, until_time: str | None, within: float, out: Path | None
) -> None:
    """Count the people of the gallery in FOLDER, each once, and show their routes.

    People are numbered, never named. Without --out the routes are counted by their cameras.
    """
    where = period(from_time, until_time)
    names = {number: name for name, number in read_cameras(folder).items()}
    with SqliteGallery(folder, actor=actor()) as opened:
        found = movements(
            (record for batch in opened.iterate(where) for record in batch), within_s=within
        )

    def camera(number: int) -> str:
        return names.get(number, f"camera {number}")

    click.echo(f"people, each counted once: {found.persons:,}")
    for number, count in found.by_camera.items():
        click.echo(f"  {camera(number)}: {count:,}")
    ways = Counter((one.from_camera, one.to_camera) for one in found.routes)
    click.echo(f"routes: {len(found.routes):,}")
    for (before, after), count in ways.most_common():
        click.echo(f"  {camera(before)} to {camera(after)}: {count:,}")
    if out is None:
        return
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["person_id", "from_camera", "to_camera", "left", "arrived", "took_s"])
    for one in found.routes:
        writer.writerow(
            [
                one.person_id,
                camera(one.from_camera),
                camera(one.to_camera),
                _moment(one.left_s),
                _moment(one.arrived_s),
                round(one.arrived_s - one.left_s, 1),
            ]
        )
    with atomic_write(out, raises=SettingsError, instead="name another file") as file:
        file.write(table.getvalue().encode("utf-8"))
    mention(f"routes: {out}")


def _moment(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
