"""`adln embed`: features of pictures by an exported network, on any device."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from adln import __version__
from adln.cameras.boxed_crops import boxed_crops
from adln.cameras.boxes_file import BoxesFile
from adln.cameras.recordings import ImageFolder, VideoFile
from adln.cli import options
from adln.cli.gallery_words import many
from adln.cli.progress import counting, tell_left_out
from adln.datasets.pictures import find_pictures
from adln.embedders.embedder import OnnxEmbedder
from adln.embeddings import chosen_depth, find_unusable
from adln.errors import ImageError, ModelFileError, SettingsError
from adln.features import (
    Features,
    FeatureSource,
    can_hold,
    require_writable_format,
    write_features,
)

# Crops of a video that are held at a time.
_CROPS_AT_ONCE = 256
_NOT_HELD = "is not UTF-8, and a .parquet file holds no other; rename it, or write .npz."


@click.command()
@options.path_argument("sources", nargs=-1, required=True)
@options.network()
@options.file(
    "--out",
    required=True,
    help="Feature file to write: .npz, or .parquet (needs pyarrow).",
)
@options.path(
    "--boxes",
    "boxes_path",
    help="SOURCES is a video or a folder of its frames, and this file of JSON lines says where "
    "the people are; see docs/device.md.",
)
@click.option("--camera", help="Camera of the video, if the boxes are of several.")
@options.depth
@options.flag("--flip", help="Average with the mirrored picture: twice the work.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Cores to use; default: all.",
)
@options.shown(
    "--batch-size", type=click.IntRange(1), default=8, help="Pictures per batch on a core."
)
@click.option(
    "--provider", help="Execution provider of onnxruntime: cpu, cuda, ...  [default: cpu]"
)
@options.quiet
def embed(
    sources: tuple[Path, ...],
    network: Path,
    out: Path,
    boxes_path: Path | None,
    camera: str | None,
    depth: int | None,
    flip: bool,
    quiet: bool,
    **effort: Any,
) -> None:
    """Embed the pictures of SOURCES and store their features.

    Each of SOURCES is a folder (searched with its sub-folders), a picture, or a list: a .csv with
    a column "path", or a .txt with one path a line. Pictures that cannot be read are named and
    left out. With --boxes, the people in one video instead, with camera, time and track.
    """
    # What could fail at the end is checked before the work.
    require_writable_format(out)
    embedder = OnnxEmbedder(network, flip=flip, **effort)
    chosen = chosen_depth(embedder.depths, depth, network=network)
    if boxes_path is None:
        found = _embed_pictures(embedder, sources, chosen, out, quiet=quiet)
    elif not can_hold(out, str(sources[0])):
        raise SettingsError(f"{sources[0]}: its name {_NOT_HELD}")
    else:
        found = _embed_video(embedder, sources, boxes_path, camera, chosen, quiet=quiet)
    tell_left_out(found.problems)
    if not found.names:
        raise ImageError(
            f"none of the {len(found.problems):,} pictures could be used; nothing was written."
        )
    unusable = find_unusable(found.embeddings)
    if unusable is not None:
        at, values = unusable
        raise ModelFileError(
            f"{network} gave {values} for {found.names[at]}; nothing was written. Export the "
            "network again, or train it again if it gives such values in torch, too."
        )
    manifest = embedder.manifest
    features = Features(
        paths=tuple(found.names),
        embeddings=found.embeddings,
        source=FeatureSource(
            depth=chosen,
            flip=flip,
            model_sha256=embedder.model.sha256,
            source_sha256=manifest.source_sha256,
            precision=manifest.precision,
            adln_version=__version__,
            space=manifest.space_of(chosen),
        ),
        columns=found.columns,
    )
    write_features(features, out)
    left_out = f", {len(found.problems):,} left out" if found.problems else ""
    click.echo(
        f"{out}: {many(len(features.paths), 'picture')}{left_out}, "
        f"{manifest.dim} numbers each, {manifest.depth_name(chosen)} {manifest.precision}"
    )


@dataclass(frozen=True)
class _Embedded:
    """N pictures that could be used, and what was wrong with the others."""

    names: list[str]
    embeddings: NDArray[np.float32]
    problems: list[str]
    columns: dict[str, NDArray[Any]]


def _embed_pictures(
    embedder: OnnxEmbedder, sources: tuple[Path, ...], depth: int, out: Path, *, quiet: bool
) -> _Embedded:
    problems: list[str] = []
    there = find_pictures(sources, on_left_out=problems.append)
    paths = [path for path in there if can_hold(out, str(path))]
    problems += [f"{path}: its name {_NOT_HELD}" for path in there if not can_hold(out, str(path))]
    with counting(len(paths), "embedding", quiet=quiet) as on_progress:
        result = embedder.embed_pictures(paths, on_progress=on_progress)
    return _Embedded(
        [str(paths[index]) for index in result.indices],
        result.embeddings[depth],
        [*problems, *(picture.reason for picture in result.unusable)],
        {},
    )


def _embed_video(
    embedder: OnnxEmbedder,
    sources: tuple[Path, ...],
    boxes_path: Path,
    camera: str | None,
    depth: int,
    *,
    quiet: bool,
) -> _Embedded:
    """The people that boxes show in one recording, with their tracks and times."""
    if len(sources) != 1:
        raise SettingsError(f"--boxes belong to one video, {len(sources)} were named.")
    boxes = BoxesFile(boxes_path)
    if camera is None:
        if len(boxes.camera_ids) != 1:
            known = ", ".join(boxes.camera_ids) or "none"
            raise SettingsError(f"{boxes_path}: say which of its cameras (--camera): {known}.")
        camera = boxes.camera_ids[0]
    open_source = ImageFolder if sources[0].is_dir() else VideoFile
    video = open_source(sources[0], camera)
    names: list[str] = []
    rows: list[tuple[str, float]] = []
    problems: list[str] = []
    parts = [np.empty((0, embedder.dim), dtype=np.float32)]
    crops = boxed_crops(video, boxes)
    try:
        with counting(boxes.count(camera), "embedding", quiet=quiet) as on_progress:
            while batch := list(islice(crops, _CROPS_AT_ONCE)):
                called = [f"{sources[0]}#{each.frame}.{each.number}" for each in batch]
                problems += [
                    f"{name}: {each.problem}"
                    for name, each in zip(called, batch, strict=True)
                    if each.crop is None
                ]
                good = [at for at, each in enumerate(batch) if each.crop is not None]
                result = embedder.embed_pictures(
                    [crop for each in batch if (crop := each.crop) is not None],
                    names=[called[at] for at in good],
                )
                problems += [picture.reason for picture in result.unusable]
                for index in result.indices:
                    each = batch[good[index]]
                    names.append(called[good[index]])
                    rows.append(("" if each.track_id is None else str(each.track_id), each.time_s))
                parts.append(result.embeddings[depth])
                on_progress(len(batch))
    finally:
        video.close()
    columns: dict[str, NDArray[Any]] = {
        "camera": np.full(len(names), camera),
        "time_s": np.array([time_s for _, time_s in rows]),
    }
    if boxes.has_tracks(camera):
        columns["track"] = np.array([track for track, _ in rows])
    return _Embedded(names, np.concatenate(parts), problems, columns)
