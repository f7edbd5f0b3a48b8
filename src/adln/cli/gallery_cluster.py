"""`adln gallery cluster`: who might be who among the sightings that nobody has named."""

from collections.abc import Mapping
from pathlib import Path

import click

from adln.cli import options
from adln.cli.gallery_words import few, gallery, open_place, when
from adln.cli.progress import mention, save_picture
from adln.embedders.foreign import network_sha256
from adln.embedders.shipped import find_network
from adln.errors import GalleryError
from adln.gallery.adapting import as_compared, calibration_in
from adln.gallery.clustering import Group, group_sightings
from adln.gallery.records import NO_PERSON, Filter
from adln.gallery.spaces import group_by_space
from adln.matching.calibration import Calibration, calibration_path, read_calibration
from adln.reports.contact_sheet import draw_contact_sheet

_ROWS_SHOWN = 20


@gallery.command()
@click.argument("place")
@options.network(default=None, help="Its calibration gives the threshold (see `adln calibrate`).")
@options.shown(
    "--level",
    type=click.Choice(["matched", "candidate"]),
    default="matched",
    help="Which of the calibration's thresholds.",
)
@options.flag("--flip", help="The embeddings are averages with the mirrored picture.")
@click.option("--threshold", type=float, help="Cosine to join from, instead of --network.")
@click.option("--depth", type=click.IntRange(1, 4), help="Depth, if the gallery has several.")
@click.option("--camera", "cameras", type=int, multiple=True, help="Only this camera; repeatable.")
@options.shown(
    "--least", type=click.IntRange(1), default=2, help="Groups of fewer sightings are left alone."
)
@options.file("--sheet", help="Draw the groups into this picture, where thumbnails were kept.")
@options.flag("--apply", "apply_them", help="Make every group a person, unnamed.")
def cluster(
    place: str,
    network: Path | None,
    level: str,
    flip: bool,
    threshold: float | None,
    depth: int | None,
    cameras: tuple[int, ...],
    least: int,
    sheet: Path | None,
    apply_them: bool,
) -> None:
    """Group the unnamed sightings of the gallery at PLACE into people.

    PLACE is a folder, or an address such as http://localhost:19530/shop. Nothing is changed without
    --apply. Sightings of one track stay together; two that a camera saw at the same moment never
    join one group.
    """
    if (network is None) == (threshold is None):
        raise GalleryError(
            "Give --network, whose calibration gives the threshold, or a --threshold of your own."
        )
    with open_place(place) as opened:
        where = Filter(
            persons=frozenset({NO_PERSON}),
            cameras=frozenset(cameras) if cameras else None,
            depth=depth,
        )
        sightings = [
            record for batch in opened.iterate(where) for record in as_compared(opened, batch)
        ]
        depths = sorted({record.model.depth for record in sightings})
        if len(group_by_space(record.model for record in sightings)) > 1:
            raise GalleryError(
                f"{place} holds depths {depths}, which cannot be compared with each other; choose "
                "one with --depth."
            )
        if not sightings:
            click.echo(f"{place}: no unnamed sightings.")
            return
        if threshold is None:
            assert network is not None
            digests = {record.model.digest for record in sightings}
            tracks = {(s.camera_id, s.track_id) for s in sightings if s.track_id is not None}
            units = len(tracks) + sum(s.track_id is None for s in sightings)
            called = {record.model.depth: record.model.depth_name for record in sightings}
            adapted = {
                model.depth: own
                for model in {record.model for record in sightings}
                if (own := calibration_in(opened, model)) is not None
            }
            threshold = _calibrated(network, digests, called, adapted, flip, level, units)
        groups = group_sightings(sightings, threshold=threshold)
        kept = [group for group in groups if len(group.sighting_ids) >= least]
        click.echo(_text(place, len(sightings), groups, kept, threshold))
        if sheet is not None:
            _draw(sheet, kept, {s.sighting_id: s.thumbnail for s in sightings if s.thumbnail})
        if apply_them:
            numbers = [opened.split(group.sighting_ids) for group in kept]
            click.echo(f"made {len(numbers):,} persons" + (f": {few(numbers)}" if numbers else ""))
        elif kept:
            click.echo("nothing was changed; --apply makes every group a person")


def _calibrated(
    network: Path,
    digests: set[str],
    depths: dict[int, str],
    adapted: Mapping[int, Calibration],
    flip: bool,
    level: str,
    units: int,
) -> float:
    """The threshold; the most cautious one where sightings are of several (named) depths.

    In an adapted gallery, that of its own calibration of a depth takes the place of the network's.
    """
    network = find_network(network)
    digest = network_sha256(network)
    content = read_calibration(network, model_sha256=digest)
    if digest not in digests:
        made_by = ", ".join(sorted(one[:12] for one in digests))
        raise GalleryError(
            f"{network} is network {digest[:12]}, the sightings are of {made_by}. Name the file "
            "that made them, or give --threshold."
        )
    found = [
        adapted.get(depth) or (None if content is None else content.of(depth, flip=flip))
        for depth in depths
    ]
    thresholds = [
        one.threshold(one.match if level == "matched" else one.candidate, units)
        for one in found
        if one is not None
    ]
    if len(thresholds) < len(depths):
        raise GalleryError(
            f"{calibration_path(network, model_sha256=digest)} has no calibration of "
            f"{' and '.join(depths[depth] for depth in sorted(depths))}"
            f"{' with the mirrored picture' if flip else ''}; run `adln calibrate`, or give "
            "--threshold."
        )
    return max(thresholds)


def _text(
    place: str, sightings: int, groups: list[Group], kept: list[Group], threshold: float
) -> str:
    in_groups = sum(len(group.sighting_ids) for group in kept)
    units = sum(group.tracks for group in groups)
    lines = [
        f"{place}: {sightings:,} unnamed sightings of {units:,} tracks; {in_groups:,} of them in "
        f"{len(kept):,} groups,",
        f"joined from a cosine of {threshold:.3f}",
    ]
    if not kept:
        return "\n".join(lines)
    lines += ["", "Group  Sightings  Tracks  Likeness  First seen        Last seen         Cameras"]
    lines.append("─" * len(lines[-1]))
    for number, group in enumerate(kept[:_ROWS_SHOWN], start=1):
        lines.append(
            f"{number:>5}  {len(group.sighting_ids):>9,}  {group.tracks:>6,}  "
            f"{group.likeness:>8.3f}  {when(group.first_seen_s)}  {when(group.last_seen_s)}  "
            f"{few(group.cameras)}"
        )
    if len(kept) > _ROWS_SHOWN:
        lines.append(f"... and {len(kept) - _ROWS_SHOWN:,} more")
    return "\n".join(lines)


def _draw(path: Path, groups: list[Group], thumbnails: dict[int, bytes]) -> None:
    if not thumbnails:
        mention("no sheet: no thumbnails were kept")
        return
    rows = [
        (
            f"Group {number}\n{len(group.sighting_ids):,} sightings\n{group.tracks:,} tracks\n"
            f"cameras {few(group.cameras)}",
            group.sighting_ids,
        )
        for number, group in enumerate(groups, start=1)
    ]
    save_picture(draw_contact_sheet(rows, thumbnails), path)
    click.echo(f"sheet: {path}")
