"""`adln adapt`: adapt a gallery to its cameras, or train a network for a site, if it gains."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from adln.cli import options
from adln.cli.adapt_overnight import NEEDS_OUT, adapt_overnight, overnight_options
from adln.cli.gallery_words import actor
from adln.errors import EvaluationError
from adln.evaluation.calibrating import calibrate, track_material
from adln.gallery.adapting import space_name
from adln.gallery.interface import Gallery
from adln.gallery.records import StoredSighting
from adln.gallery.spaces import group_by_space
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.adaptation import TrackedCrops
from adln.matching.adaptation_gate import GateDecision, decide
from adln.matching.calibration import Calibration


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="GALLERY | CROPS_OR_RECORDINGS...")
@options.flag("--dry-run", help="Say what would be done, and change nothing.")
@options.flag("--undo", help="Go back to the embeddings as the network gave them.")
@overnight_options
def adapt(places: tuple[str, ...], dry_run: bool, undo: bool, **overnight: Any) -> None:
    """Adapt a GALLERY to its cameras, or, with --out, make a network for a site.

    GALLERY: removes what all people under one camera have in common, and evens out the spread
    within tracks, if held-out tracks show a certain gain. It needs neither names nor pictures. The
    stored embeddings stay as they are; --undo switches the adaptation off again.

    CROPS_OR_RECORDINGS with --out: learns from a teacher on crops of this site's tracks, on this
    machine only, and writes the network if tracks that it did not learn from show a certain gain.
    With --teacher none it learns from the tracks alone: which of them show one person is told by
    clusters, found anew as it learns.
    """
    if overnight["out"] is not None:
        if dry_run or undo:
            raise click.UsageError("--dry-run and --undo go with a gallery, --out with a training.")
        adapt_overnight(places, **overnight)
        return
    unused = [name for name, value in overnight.items() if value and name in NEEDS_OUT]
    if unused:
        raise click.UsageError(f"--{unused[0].replace('_', '-')} goes with --out NETWORK.onnx.")
    if len(places) > 1:
        raise click.UsageError("name one gallery; recordings and crops go with --out.")
    _adapt_gallery(Path(places[0]), dry_run=dry_run, undo=undo)


def _adapt_gallery(folder: Path, *, dry_run: bool, undo: bool) -> None:
    with SqliteGallery(folder, actor=actor()) as gallery:
        known = {one.space: one for one in gallery.adaptations}
        if undo:
            for one in known.values():
                click.echo(f"{one.method} ({one.id}), fitted on {one.fitted_on}")
            if dry_run:
                click.echo(f"{len(known)} would be switched off; nothing was changed")
            else:
                click.echo(f"{gallery.undo_adaptation()} switched off")
            return
        records = list(tracked_records(gallery))
        if not gallery.models:
            click.echo(f"{folder}: the gallery is empty.")
        for models in group_by_space(gallery.models):
            mine = [record for record in records if record.model in models]
            crops = tracked_crops(mine, models[0].dim, gallery.carried(mine))
            size = f"{len(mine):,} sightings of {len(set(crops.track_numbers())):,} tracks"
            called = " and ".join(sorted({model.depth_name for model in models}))
            click.echo(f"{called}: {size}")
            decision = decide(crops, space=space_name(models[0]), fitted_on=size)
            calibration, meaning = _calibration(decision)
            click.echo(decision_text(decision) + meaning)
            if decision.adaptation is None:
                if space_name(models[0]) in known:
                    click.echo("  the adaptation switched on earlier stays; --undo removes it")
                continue
            if dry_run:
                click.echo("  nothing was changed; leave out --dry-run to switch it on")
                continue
            gallery.adapt(decision.adaptation, calibration, recognised=_recognised(decision))
            click.echo(f"  switched on as {decision.adaptation.id}; --undo switches it off")


def tracked_records(gallery: Gallery) -> Iterator[StoredSighting]:
    """All sightings that are of a track."""
    for batch in gallery.iterate():
        yield from (record for record in batch if record.track_id is not None)


def tracked_crops(
    records: list[StoredSighting], dim: int, rows: list[NDArray[np.float32]]
) -> TrackedCrops:
    """Sightings of tracks as arrays, with their embeddings as bridges carry them."""
    return TrackedCrops(
        np.stack(rows) if rows else np.zeros((0, dim), np.float32),
        np.array([record.camera_id for record in records], dtype=np.int64),
        np.array([record.track_id for record in records], dtype=np.int64),
        np.array([record.time_s for record in records], dtype=np.float64),
    )


def decision_text(decision: GateDecision) -> str:
    """What the gate decided and why, in lines for a person."""
    verdict = "no adaptation" if decision.adaptation is None else "adapt"
    lines = [f"  {verdict}: {decision.reason}"]
    if decision.comparisons:
        own = decision.own_camera_before
        lines.append(
            f"  judged by {decision.num_tracks:,} tracks, {decision.num_together:,} pairs of which "
            f"were seen together; as it is: {decision.recognised_before:.1%} of true pairs at "
            f"{decision.rate:.1%} false ones"
            + ("" if own is None else f", {own:.0%} of nearest neighbours of the same camera")
        )
    for one in decision.comparisons:
        own_camera = "" if one.own_camera is None else f", same camera {one.own_camera:.0%}"
        lines.append(
            f"    {one.method}: {one.recognised:.1%} ({one.gain:+.1%} against {one.against}, "
            f"at least {one.gain_least:+.1%}){own_camera}: {one.reason}"
        )
    return "\n".join(lines)


def _calibration(decision: GateDecision) -> tuple[Calibration | None, str]:
    """What scores mean from now on: fitted to tracks that the adaptation was not; and in words."""
    held_out = decision.held_out
    if held_out is None:
        return None, ""
    changed = "\n  scores mean something else once it is on"
    if held_out.time_s is None:
        return None, f"{changed}, and without times that cannot be fitted"
    material = track_material(
        held_out.embeddings, held_out.cameras, held_out.tracks, held_out.time_s
    )
    try:
        fitted = calibrate(material, depth=1, flip=False, data="tracks of this gallery")
    except EvaluationError as error:
        return None, f"{changed}, and these tracks do not suffice for new thresholds: {error}"
    match, candidate = (
        fitted.threshold(level, fitted.largest_size) for level in (fitted.match, fitted.candidate)
    )
    return fitted, (
        f"{changed}: in a gallery of {fitted.largest_size} persons match from {match:.3f}, "
        f"candidate from {candidate:.3f}; that is stored with it"
    )


def _recognised(decision: GateDecision) -> tuple[float, float] | None:
    """The share of true pairs that are recognised, as it was and with what was chosen."""
    assert decision.adaptation is not None
    method = decision.adaptation.method
    reached = [one.recognised for one in decision.comparisons if one.method == method]
    return (decision.recognised_before, reached[-1]) if reached else None
