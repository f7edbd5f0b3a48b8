"""`adln calibrate`: which score means "same person", for a network and its cameras."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from adln import __version__
from adln.atomic import require_writable
from adln.cli import options
from adln.cli.adapt import tracked_crops, tracked_records
from adln.cli.embedders import is_exported, open_chain, open_trained
from adln.cli.progress import counting, mention, print_json, tell
from adln.datasets.catalogue import open_dataset
from adln.embedders.foreign import network_sha256
from adln.embedders.session import OpenModel, open_session
from adln.embedders.shipped import find_network
from adln.errors import GalleryError, ModelFileError, SettingsError
from adln.evaluation import calibration_sources
from adln.evaluation.calibrating import calibrate as fit
from adln.evaluation.calibrating import track_material
from adln.gallery.records import ModelKey
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import (
    Calibration,
    CalibrationFile,
    calibration_path,
    read_calibration,
    write_calibration,
)
from adln.reports.calibration_text import calibration_text

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@options.path_argument("network")
@options.path(
    "--data",
    help="Folder or CSV of a data set whose persons the network was not trained on.",
)
@options.layout
@options.path(
    "--deeper",
    multiple=True,
    help="With --data: the next file of a split export, going on from NETWORK; repeatable.",
)
@options.path(
    "--against",
    multiple=True,
    help="With --data: a file whose embeddings NETWORK's will be compared with, too; repeatable.",
)
@options.path("--features", help="Instead of --data: file of `adln embed`.")
@options.path(
    "--gallery",
    help="Instead of --data: a gallery, with those of its tracks that NETWORK has embedded.",
)
@options.path(
    "--table",
    help="With --features: CSV with path, camera and person, or path, camera, track and time_s.",
)
@options.depths
@options.shown(
    "--flip/--no-flip",
    default=False,
    help="For embeddings averaged with the mirrored crop; as in the searches to come.",
)
@options.shown(
    "--match-rate",
    type=_SHARE,
    default=0.01,
    help='Share of searches for strangers that may be answered with "matched".',
)
@options.shown(
    "--candidate-rate",
    type=_SHARE,
    default=0.1,
    help='The same for "matched" or "candidate".',
)
@options.shown(
    "--enrolled-share",
    type=_SHARE,
    default=0.5,
    help="Share of searches for enrolled people that the probability assumes.",
)
@options.shown(
    "--gap",
    "gap_s",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    help="Tracks: seconds between two pictures that are compared.",
)
@options.shown("--batch-size", type=click.IntRange(1), default=64)
@options.path(
    "--out",
    help="Write this file instead, to copy it to a device: there it belongs beside the network, as "
    "NETWORK.calibration.json.",
)
@options.as_json
def calibrate(
    network: Path,
    data: Path | None,
    layout: str,
    deeper: tuple[Path, ...],
    against: tuple[Path, ...],
    features: Path | None,
    gallery: Path | None,
    table: Path | None,
    depths: tuple[int, ...],
    flip: bool,
    gap_s: float,
    batch_size: int,
    out: Path | None,
    as_json: bool,
    **rates: Any,
) -> None:
    """Find the scores from which NETWORK's answers are matched or candidate, and their probability.

    NETWORK is a file of `adln export`, or a name of `adln networks`. Fitted to named pictures
    (--data, or --features with persons), or to unnamed tracks, such as a watch stores (--gallery):
    one track shows one person, two tracks in one frame show two. The result is stored beside
    NETWORK, as NETWORK.calibration.json; for res1 and res2 in ~/.config/adln/calibrations.

    Depths that share a space are also fitted in pairs, with --data: queries at one depth in a
    gallery of the other. Those of a split export need all its files (--deeper); each file gets a
    calibration of the queries at its depth.
    """
    if sum(place is not None for place in (data, features, gallery)) != 1:
        raise SettingsError("Give one of --data, --features and --gallery to calibrate with.")
    if data is None and (deeper or against):
        raise SettingsError("--deeper and --against need pictures: give --data.")
    if gallery is not None and flip:
        raise SettingsError("--flip: a gallery does not say how its embeddings were made.")
    paths = [find_network(path) for path in (network, *deeper)]
    if out is not None and len(paths) > 1:
        raise SettingsError("--out names one file, but each file of a split export gets its own.")
    for path in paths:
        if path.exists():  # what is missing is named by who reads it
            own = calibration_path(path, model_sha256=network_sha256(path))
            require_writable(out or own, raises=SettingsError)
    if data is not None:
        found = calibration_sources.judge_dataset(
            *_opened(paths, against, tuple(sorted(set(depths))), flip=flip),
            open_dataset(data, layout),
            match_rate=rates["match_rate"],
            flip=flip,
            batch_size=batch_size,
            progress=lambda pictures: counting(pictures, "embedding", quiet=as_json),
        )
    elif gallery is not None:
        found = [_from_gallery(paths[0], gallery, depths, gap_s=gap_s)]
    else:
        assert features is not None
        digest = network_sha256(paths[0])
        found = [
            calibration_sources.judge_features(paths[0], digest, features, table=table, gap_s=gap_s)
        ]
    contents = []
    for judged in found:
        fitted = tuple(
            fit(
                material,
                depth=depth,
                gallery_depth=None if gallery_depth == depth else gallery_depth,
                flip=judged.flip,
                data=judged.data,
                **rates,
            )
            for (depth, gallery_depth), material in judged.materials.items()
        )
        content, where = _store(judged, fitted, out)
        contents.append((content, fitted, where, judged.file))
    if as_json:
        plain = [asdict(content) for content, *_ in contents]
        print_json(plain[0] if len(plain) == 1 else plain, indent=1)
        return
    for _, fitted, path, file in contents:
        for calibration in fitted:
            depth = calibration.depth
            called = ModelKey(file.sha256, depth, 1, file.spaces.get(depth, "")).depth_name
            if called == "whole":
                # A network of another make has no depths and is called like its file.
                called = file.path.stem
            click.echo(calibration_text(calibration, called=called) + "\n")
        click.echo(f"stored: {path}")


def _store(
    judged: calibration_sources.JudgedNetwork, fitted: tuple[Calibration, ...], out: Path | None
) -> tuple[CalibrationFile, Path]:
    """Write what was fitted; what the file has of other depths, or of the other --flip, stays."""

    def kind(one: Calibration) -> tuple[int, int, bool]:
        return one.depth, one.gallery_depth or one.depth, one.flip

    file = judged.file
    try:
        earlier = read_calibration(file.path, model_sha256=file.sha256)
    except ModelFileError as error:
        tell("replaced", str(error))
        earlier = None
    new = {kind(one) for one in fitted}
    kept = [one for one in earlier.calibrations if kind(one) not in new] if earlier else []
    content = CalibrationFile(
        model_sha256=file.sha256,
        source_sha256=file.source_sha256,
        precision=file.precision,
        adln_version=__version__,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        calibrations=tuple(sorted([*kept, *fitted], key=kind)),
    )
    return content, write_calibration(content, file.path, path=out)


def _opened(
    paths: list[Path], against: tuple[Path, ...], depths: tuple[int, ...], *, flip: bool
) -> tuple[calibration_sources.OpenedNetwork, list[calibration_sources.OpenedNetwork]]:
    """The network to calibrate, and those that it will be compared with."""
    if is_exported(paths[0]):
        others = [_open_files([find_network(path)], (), flip=flip) for path in against]
        return _open_files(paths, depths, flip=flip), others
    if len(paths) > 1 or against:
        raise SettingsError("--deeper and --against are for files of `adln export`.")
    embedder, _, _ = open_trained(paths[0], depths, device="auto", flip=flip, bf16=False)
    spaces = dict.fromkeys(embedder.depths, "")
    file = calibration_sources.NetworkFile(paths[0], network_sha256(paths[0]), "", "fp32", spaces)
    return calibration_sources.OpenedNetwork(embedder, (file,)), []


def _from_gallery(
    path: Path, folder: Path, depths: tuple[int, ...], *, gap_s: float
) -> calibration_sources.JudgedNetwork:
    """The tracks in a gallery that were embedded with this network."""
    model = open_session(path)
    with SqliteGallery(folder) as gallery:
        mine = [
            record
            for record in tracked_records(gallery)
            if record.model.digest == model.sha256 and (not depths or record.model.depth in depths)
        ]
        made_by = sorted({one.digest[:12] for one in gallery.models})
        is_adapted = bool(gallery.adaptations)
        carried = gallery.carried(mine)
    if not mine:
        raise GalleryError(
            f"{folder}: holds no sighting of a track that {path.name} ({model.sha256[:12]}) has "
            f"embedded. Its sightings were embedded by {', '.join(made_by) or 'nothing yet'}; name "
            "that network, or let a watch fill the gallery first."
        )
    if is_adapted:
        mention(
            f"{folder} is adapted (`adln adapt`): there the thresholds stored with the adaptation "
            "are asked first, and these only in other galleries."
        )
    materials = {}
    for depth in sorted({record.model.depth for record in mine}):
        at = [place for place, record in enumerate(mine) if record.model.depth == depth]
        crops = tracked_crops(
            [mine[place] for place in at], mine[0].model.dim, [carried[place] for place in at]
        )
        assert crops.time_s is not None
        materials[depth, depth] = track_material(
            crops.embeddings, crops.cameras, crops.tracks, crops.time_s, gap_s=gap_s
        )
    file = _file_of(model, [depth for depth, _ in materials])
    return calibration_sources.JudgedNetwork(file, folder.name, False, materials)


def _open_files(
    paths: list[Path], depths: tuple[int, ...], *, flip: bool
) -> calibration_sources.OpenedNetwork:
    """An exported network in one file, or in several that go on from each other."""
    embedder = open_chain(paths, depths, flip=flip)
    files = (_file_of(model, embedder.depths) for model in embedder.models)
    return calibration_sources.OpenedNetwork(embedder, tuple(files))


def _file_of(model: OpenModel, depths: Sequence[int]) -> calibration_sources.NetworkFile:
    """A file with the spaces of those of the depths that it has."""
    about = model.manifest
    spaces = {depth: about.space_of(depth) for depth in about.depths if depth in depths}
    return calibration_sources.NetworkFile(
        model.path, model.sha256, about.source_sha256, about.precision, spaces
    )
