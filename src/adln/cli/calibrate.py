"""`adln calibrate`: which score means "same person", for a model and its cameras."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adln.cli.embedders import is_exported, open_exported, open_trained
from adln.cli.options import layout_option

if TYPE_CHECKING:
    from adln.calibration import Calibration, CalibrationFile, Level
    from adln.embeddings import Embedder
    from adln.evaluation.calibrating import Material

_SIZES_SHOWN = (1, 10, 100, 1_000, 10_000)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    "data_path",
    type=click.Path(path_type=Path),
    help="Folder or CSV of a data set whose persons the model has not learned from.",
)
@layout_option
@click.option(
    "--features",
    "features_path",
    type=click.Path(path_type=Path),
    help="Instead of --data: file of `adln embed`.",
)
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="With --features: CSV with path, camera and person, or path, camera, track and time_s.",
)
@click.option(
    "--depth",
    "depths",
    type=click.IntRange(1, 4),
    multiple=True,
    help="Only this depth; may be repeated. All that the file has if left out.",
)
@click.option(
    "--flip/--no-flip",
    default=False,
    show_default=True,
    help="For embeddings averaged with the mirrored crop; as in the searches to come.",
)
@click.option(
    "--match-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help='Share of searches for strangers that may be answered with "matched".',
)
@click.option(
    "--candidate-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help='The same for "matched" or "candidate".',
)
@click.option(
    "--enrolled-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Share of searches for enrolled people that the probability assumes.",
)
@click.option(
    "--gap",
    "gap_s",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Tracks: seconds between two pictures that are compared.",
)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def calibrate(
    model: Path,
    data_path: Path | None,
    layout: str,
    features_path: Path | None,
    table: Path | None,
    depths: tuple[int, ...],
    flip: bool,
    match_rate: float,
    candidate_rate: float,
    enrolled_share: float,
    gap_s: float,
    batch_size: int,
    as_json: bool,
) -> None:
    """Find the scores from which MODEL's answers are matched or candidate, and their probability.

    Fitted to named pictures (--data, or --features with persons), or to tracks that nobody has
    named: one track shows one person, two tracks in one frame show two. The result is stored
    beside MODEL, as MODEL.calibration.json.
    """
    import hashlib
    import json
    from dataclasses import asdict

    from adln import __version__
    from adln.calibration import CalibrationFile, read_calibration, write_calibration
    from adln.errors import ModelFileError, SettingsError
    from adln.evaluation.calibrating import calibrate as fit
    from adln.runtime.shipped import find_network

    if (data_path is None) == (features_path is None):
        raise SettingsError("Give either --data or --features to calibrate with.")
    model = find_network(model)
    try:
        with model.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{model}: cannot be opened ({error.strerror}).") from error
    if data_path is not None:
        name, facts, materials = _from_dataset(
            model, data_path, layout, depths, flip=flip, batch_size=batch_size, quiet=as_json
        )
    else:
        assert features_path is not None
        name, facts, flip, materials = _from_features(features_path, table, digest, gap_s)
    fitted = tuple(
        fit(
            material,
            depth=depth,
            flip=flip,
            data=name,
            match_rate=match_rate,
            candidate_rate=candidate_rate,
            enrolled_share=enrolled_share,
        )
        for depth, material in materials.items()
    )
    # Calibrations of other depths, or of the other --flip, are kept.
    earlier = _earlier(model, digest, read_calibration)
    new = {(one.depth, one.flip) for one in fitted}
    kept = tuple(one for one in earlier if (one.depth, one.flip) not in new)
    content = CalibrationFile(
        model_sha256=digest,
        adln_version=__version__,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        calibrations=tuple(sorted(kept + fitted, key=lambda one: (one.depth, one.flip))),
        **facts,
    )
    path = write_calibration(content, model)
    if as_json:
        click.echo(json.dumps(asdict(content), indent=1))
        return
    for calibration in fitted:
        click.echo(describe(calibration) + "\n")
    click.echo(f"stored: {path}")


def _from_dataset(
    model: Path,
    data_path: Path,
    layout: str,
    depths: tuple[int, ...],
    *,
    flip: bool,
    batch_size: int,
    quiet: bool,
) -> tuple[str, dict[str, Any], "dict[int, Material]"]:
    from adln.cli.progress import counting
    from adln.datasets.catalogue import open_dataset
    from adln.evaluation.protocol import embed_split

    dataset = open_dataset(data_path, layout)
    wanted = tuple(sorted(set(depths)))
    embedder: Embedder
    if is_exported(model):
        exported = embedder = open_exported(model, wanted, flip=flip)
        facts = {name: getattr(exported.manifest, name) for name in ("source_sha256", "precision")}
    else:
        embedder, _, _ = open_trained(model, wanted, device="auto", flip=flip, bf16=False)
        facts = {"source_sha256": "", "precision": "fp32"}
    # A data set of one's own often has no query: then every picture is searched for.
    splits = (dataset.query, dataset.gallery)
    if not all(map(len, splits)):
        splits = (dataset.train, dataset.train)
    parts = splits if splits[0] is not splits[1] else splits[:1]
    with counting(sum(map(len, parts)), "embedding", quiet=quiet) as on_progress:
        features = [
            embed_split(embedder, part, batch_size=batch_size, on_progress=on_progress)
            for part in parts
        ]
    materials = {}
    for depth in embedder.depths:
        sides = [
            (by_depth[depth], part.person_ids, part.camera_ids)
            for by_depth, part in zip(features, parts, strict=True)
        ]
        materials[depth] = _of_persons(sides[0], sides[-1])
    return dataset.name, facts, materials


def _of_persons(query: Any, gallery: Any) -> "Material":
    import numpy as np

    from adln.evaluation.calibrating import person_material
    from adln.evaluation.open_set import person_scores

    across = len(np.unique(np.concatenate([query[2], gallery[2]]))) > 1
    if not across:
        # With one camera only, nothing but the picture itself must be left out.
        is_same = query[0] is gallery[0]
        own = np.arange(len(query[2]))
        other = own if is_same else np.arange(len(gallery[2])) + len(own)
        query, gallery = (*query[:2], own), (*gallery[:2], other)
    return person_material(person_scores(*query, *gallery), across_cameras=across)


def _from_features(
    features_path: Path, table: Path | None, digest: str, gap_s: float
) -> tuple[str, dict[str, Any], bool, "dict[int, Material]"]:
    import numpy as np

    from adln.errors import DatasetError, ModelFileError
    from adln.evaluation.calibrating import track_material
    from adln.runtime.columns import read_columns
    from adln.runtime.features import read_features

    features = read_features(features_path)
    source = features.source
    if source.model_sha256 != digest:
        raise ModelFileError(
            f"{features_path} was made by the model {source.model_sha256[:12]}, this one is "
            f"{digest[:12]}; embed again with it."
        )
    columns = read_columns(features_path, features.paths, table)
    if {"camera", "person"} <= columns.keys():
        person, camera = (
            np.unique(columns[name], return_inverse=True)[1].astype(np.int64).reshape(-1)
            for name in ("person", "camera")
        )
        side = (features.embeddings, person, camera)
        material = _of_persons(side, side)
    elif {"camera", "track", "time_s"} <= columns.keys():
        material = track_material(
            features.embeddings, columns["camera"], columns["track"], columns["time_s"], gap_s=gap_s
        )
    else:
        raise DatasetError(
            f"{table or features_path}: expected the columns camera and person, or camera, track "
            f"and time_s; found {sorted(columns) or 'none of them'}. Name a CSV with them by "
            "--table."
        )
    facts = {"source_sha256": source.source_sha256, "precision": source.precision}
    return features_path.name, facts, source.flip, {source.depth: material}


def _earlier(model: Path, digest: str, read: Any) -> "tuple[Calibration, ...]":
    from adln.errors import ModelFileError

    try:
        content: CalibrationFile | None = read(model, model_sha256=digest)
    except ModelFileError as error:
        click.secho("replaced: ", fg="yellow", err=True, nl=False)
        click.echo(str(error), err=True)
        return ()
    return () if content is None else content.calibrations


def describe(calibration: "Calibration") -> str:
    """What a person wants to know of a calibration, in 80 columns."""
    evidence, held = calibration.evidence, calibration.reliability
    largest = calibration.largest_size
    sizes = sorted({*(size for size in _SIZES_SHOWN if size < largest), largest, 10 * largest})
    heads = [f"{size:,}{'*' if size > largest else ''}" for size in sizes]
    flip = ", with the mirrored crop" if calibration.flip else ""

    def row(name: str, level: "Level") -> str:
        cells = [f"{calibration.threshold(level, size):.3f}" for size in sizes]
        return f"{name:<30}" + "".join(f"{cell:>9}" for cell in cells)

    def held_row(name: str, strangers: float, enrolled: float, rate: float) -> str:
        return (
            f"  {name:<22}{100 * strangers:>6.2f} % of strangers (asked: {100 * rate:g} %), "
            f"{100 * enrolled:.1f} % of enrolled people"
        )

    words = evidence.kind
    lines = [
        f"Res{calibration.depth}{flip}: {evidence.num_persons:,} {words} of {evidence.data}, "
        f"{evidence.num_searches:,} searches,",
        f"{evidence.num_comparisons:,} comparisons with others"
        + (", people found again under other cameras" if evidence.across_cameras else ""),
        "",
        f"{'score from, persons in gallery:':<30}"[:30] + "".join(f"{head:>9}" for head in heads),
        "─" * (30 + 9 * len(sizes)),
        row("matched", calibration.match),
        row("candidate", calibration.candidate),
        f"* extrapolated; measured up to {largest:,} persons",
        "",
        f"On the half of the {words} not fitted to, in galleries of {held.gallery_size:,}:",
        held_row("matched", held.matched_strangers, held.matched_enrolled, calibration.match.rate),
        held_row(
            "matched or candidate",
            held.candidate_strangers,
            held.candidate_enrolled,
            calibration.candidate.rate,
        ),
        f"  {'probability':<22}{100 * held.calibration_error:>6.1f} points off on average; Brier "
        f"{held.brier:.4f}",
        f"  {'':<22}       (the mean of all: {held.base_brier:.4f}), log loss {held.log_loss:.3f}",
    ]
    if not evidence.across_cameras:
        lines += [
            "",
            "People were found again by the same camera here, which is easier than between",
            "cameras: expect fewer of them to be found than stated. Strangers are as stated.",
        ]
    return "\n".join(lines)
