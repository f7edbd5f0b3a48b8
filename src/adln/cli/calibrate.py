"""`adln calibrate`: which score means "same person", for a network and its cameras."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adln.cli.embedders import is_exported, open_exported, open_trained
from adln.cli.options import layout_option
from adln.embedders.shipped import find_network

if TYPE_CHECKING:
    from adln.datasets.split import Split
    from adln.embeddings import Embedder
    from adln.evaluation.calibrating import Material
    from adln.matching.calibration import Calibration, CalibrationFile, Level

_SIZES_SHOWN = (1, 10, 100, 1_000, 10_000)


@click.command()
@click.argument("network", type=click.Path(path_type=Path))
@click.option(
    "--data",
    "data_path",
    type=click.Path(path_type=Path),
    help="Folder or CSV of a data set whose persons the network has not learned from.",
)
@layout_option
@click.option(
    "--deeper",
    "deeper_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="With --data: the next file of a split export, going on from NETWORK; repeatable.",
)
@click.option(
    "--against",
    "against_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="With --data: a file whose embeddings NETWORK's will be compared with, too; repeatable.",
)
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
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write, for a device: there it goes beside the network, as "
    "NETWORK.calibration.json. This machine does not look there by itself.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def calibrate(
    network: Path,
    data_path: Path | None,
    layout: str,
    deeper_paths: tuple[Path, ...],
    against_paths: tuple[Path, ...],
    features_path: Path | None,
    table: Path | None,
    depths: tuple[int, ...],
    flip: bool,
    match_rate: float,
    candidate_rate: float,
    enrolled_share: float,
    gap_s: float,
    batch_size: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Find the scores from which NETWORK's answers are matched or candidate, and their probability.

    NETWORK is a file of `adln export`, or res1 or res2, which come with adln. Fitted to named
    pictures (--data, or --features with persons), or to tracks that nobody has named: one track
    shows one person, two tracks in one frame show two. The result is stored beside NETWORK, as
    NETWORK.calibration.json; for res1 and res2 in ~/.config/adln/calibrations.

    Depths that share a space are also fitted in pairs, with --data: queries at one depth in a
    gallery of the other. Those of a split export need all its files (--deeper); each file gets a
    calibration of the queries at its depth.
    """
    import json
    from dataclasses import asdict

    from adln.atomic import require_writable
    from adln.errors import SettingsError
    from adln.evaluation.calibrating import calibrate as fit
    from adln.matching.calibration import calibration_path

    if (data_path is None) == (features_path is None):
        raise SettingsError("Give either --data or --features to calibrate with.")
    if features_path is not None and (deeper_paths or against_paths):
        raise SettingsError("--deeper and --against need pictures: give --data, not --features.")
    paths = [find_network(path) for path in (network, *deeper_paths)]
    if out is not None and len(paths) > 1:
        raise SettingsError("--out names one file, but each file of a split export gets its own.")
    for path in paths:
        if path.exists():  # what is missing is named by who reads it
            own = calibration_path(path, model_sha256=_digest(path))
            require_writable(out or own, raises=SettingsError)
    if data_path is not None:
        found = _from_dataset(
            paths,
            against_paths,
            data_path,
            layout,
            depths,
            match_rate=match_rate,
            flip=flip,
            batch_size=batch_size,
            quiet=as_json,
        )
    else:
        assert features_path is not None
        found = _from_features(paths[0], features_path, table, gap_s)
    contents = []
    for judged in found:
        fitted = tuple(
            fit(
                material,
                depth=depth,
                gallery_depth=None if gallery_depth == depth else gallery_depth,
                flip=judged.flip,
                data=judged.data,
                match_rate=match_rate,
                candidate_rate=candidate_rate,
                enrolled_share=enrolled_share,
            )
            for (depth, gallery_depth), material in judged.materials.items()
        )
        content, where = _store(judged, fitted, out)
        contents.append((content, fitted, where))
    if as_json:
        plain = [asdict(content) for content, _, _ in contents]
        click.echo(json.dumps(plain[0] if len(plain) == 1 else plain, indent=1))
        return
    for _, fitted, path in contents:
        for calibration in fitted:
            click.echo(describe(calibration) + "\n")
        click.echo(f"stored: {path}")


@dataclass(frozen=True)
class _Judged:
    """Scores of one model file whose truth is known."""

    path: Path
    digest: str
    facts: dict[str, Any]
    data: str
    flip: bool
    # (query's depth, gallery's depth) -> scores
    materials: "dict[tuple[int, int], Material]"


def _store(
    judged: _Judged, fitted: "tuple[Calibration, ...]", out: Path | None
) -> "tuple[CalibrationFile, Path]":
    """Write what was fitted; what the file has of other depths, or of the other --flip, stays."""
    from adln import __version__
    from adln.matching.calibration import CalibrationFile, write_calibration

    def kind(one: "Calibration") -> tuple[int, int, bool]:
        return one.depth, one.gallery_depth or one.depth, one.flip

    new = {kind(one) for one in fitted}
    kept = tuple(one for one in _earlier(judged.path, judged.digest) if kind(one) not in new)
    content = CalibrationFile(
        model_sha256=judged.digest,
        adln_version=__version__,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        calibrations=tuple(sorted(kept + fitted, key=kind)),
        **judged.facts,
    )
    return content, write_calibration(content, judged.path, path=out)


def _digest(path: Path) -> str:
    import hashlib

    from adln.atomic import require_regular
    from adln.errors import ModelFileError

    require_regular(path, raises=ModelFileError, expected="a network file")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be opened ({error.strerror}).") from error


def _from_dataset(
    paths: list[Path],
    against_paths: tuple[Path, ...],
    data_path: Path,
    layout: str,
    depths: tuple[int, ...],
    *,
    match_rate: float,
    flip: bool,
    batch_size: int,
    quiet: bool,
) -> list[_Judged]:
    from adln.cli.progress import counting
    from adln.datasets.catalogue import open_dataset
    from adln.errors import SettingsError
    from adln.evaluation.calibrating import require_enough
    from adln.evaluation.protocol import embed_split

    wanted = tuple(sorted(set(depths)))
    others: list[_Opened] = []
    if is_exported(paths[0]):
        own = _open_files(paths, wanted, flip=flip)
        others = [_open_files([find_network(path)], (), flip=flip) for path in against_paths]
    else:
        if len(paths) > 1 or against_paths:
            raise SettingsError("--deeper and --against are for files of `adln export`.")
        embedder, _, _ = open_trained(paths[0], wanted, device="auto", flip=flip, bf16=False)
        facts = {"source_sha256": "", "precision": "fp32"}
        own = _Opened(embedder, [facts], [dict.fromkeys(embedder.depths, "")])
    for path, other in zip(against_paths, others, strict=True):
        if not set(own.spaces.values()) & set(other.spaces.values()) - {""}:
            raise SettingsError(
                f"{path}: its embeddings share no space with those of {paths[0]}, so that they "
                "are never compared; leave --against out."
            )
    dataset = open_dataset(data_path, layout)
    # A data set of one's own often has no query: then every picture is searched for.
    splits = (dataset.query, dataset.gallery)
    if not all(map(len, splits)):
        splits = (dataset.train, dataset.train)
    parts = splits if splits[0] is not splits[1] else splits[:1]
    sides = [(_alike(part), part.person_ids, part.camera_ids) for part in splits]
    require_enough(_of_persons(*sides, is_same=len(parts) == 1), match_rate)
    pictures = sum(map(len, parts)) + len(parts[-1]) * len(others)
    with counting(pictures, "embedding", quiet=quiet) as on_progress:

        def embed(opened: _Opened, part: Any) -> Any:
            return embed_split(
                opened.embedder, part, batch_size=batch_size, on_progress=on_progress
            )

        queries = embed(own, parts[0])
        # The network itself is searched at its other depths, too.
        stored = [embed(own, parts[1]) if len(parts) > 1 else queries]
        stored += [embed(other, parts[-1]) for other in others]
    judged = []
    for path, facts, spaces in zip(paths, own.facts, own.depths, strict=True):
        materials = {}
        for depth, space in spaces.items():
            query = (queries[depth], parts[0].person_ids, parts[0].camera_ids)
            among = {depth: stored[0][depth]}
            for opened, features in zip([own, *others], stored, strict=True):
                for their_depth, their_space in opened.spaces.items():
                    if space and space == their_space:
                        among.setdefault(their_depth, features[their_depth])
            for their_depth, embeddings in among.items():
                gallery = (embeddings, parts[-1].person_ids, parts[-1].camera_ids)
                materials[depth, their_depth] = _of_persons(query, gallery, is_same=len(parts) == 1)
        judged.append(_Judged(path, _digest(path), facts, dataset.name, flip, materials))
    return judged


def _alike(part: "Split") -> Any:
    """Embeddings that are all the same: who will be compared can be counted before the work."""
    import numpy as np

    return np.ones((len(part), 1), dtype=np.float32)


@dataclass(frozen=True)
class _Opened:
    """A network: what its files say, and for each file depth -> space."""

    embedder: "Embedder"
    facts: list[dict[str, Any]]
    depths: list[dict[int, str]]

    @property
    def spaces(self) -> dict[int, str]:
        """Depth -> space, of all files."""
        return {depth: space for one in self.depths for depth, space in one.items()}


def _open_files(paths: list[Path], depths: tuple[int, ...], *, flip: bool) -> _Opened:
    """An exported network in one file, or in several that go on from each other."""
    from adln.embedders.deeper import ChainedEmbedder
    from adln.embedders.embedder import DEFAULT_BATCH_SIZE
    from adln.embedders.session import open_session

    if len(paths) == 1:
        exported = open_exported(paths[0], depths, flip=flip)
        embedder: Embedder = exported
        manifests = [exported.manifest]
    else:
        embedder = ChainedEmbedder(paths, batch_size=DEFAULT_BATCH_SIZE, depths=depths, flip=flip)
        manifests = [open_session(path).manifest for path in paths]
    return _Opened(
        embedder,
        [{"source_sha256": one.source_sha256, "precision": one.precision} for one in manifests],
        [
            {depth: one.space_of(depth) for depth in one.depths if depth in embedder.depths}
            for one in manifests
        ],
    )


def _of_persons(query: Any, gallery: Any, *, is_same: bool) -> "Material":
    import numpy as np

    from adln.evaluation.calibrating import person_material
    from adln.evaluation.open_set import person_scores

    across = len(np.unique(np.concatenate([query[2], gallery[2]]))) > 1
    if not across:
        # With one camera only, nothing but the picture itself must be left out.
        own = np.arange(len(query[2]))
        other = own if is_same else np.arange(len(gallery[2])) + len(own)
        query, gallery = (*query[:2], own), (*gallery[:2], other)
    return person_material(person_scores(*query, *gallery), across_cameras=across)


def _from_features(
    model: Path, features_path: Path, table: Path | None, gap_s: float
) -> list[_Judged]:
    import numpy as np

    from adln.datasets.columns import read_columns
    from adln.errors import DatasetError, ModelFileError
    from adln.evaluation.calibrating import track_material
    from adln.features import read_features

    digest = _digest(model)
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
        material = _of_persons(side, side, is_same=True)
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
    materials = {(source.depth, source.depth): material}
    return [_Judged(model, digest, facts, features_path.name, source.flip, materials)]


def _earlier(model: Path, digest: str) -> "tuple[Calibration, ...]":
    from adln.errors import ModelFileError
    from adln.matching.calibration import read_calibration

    try:
        content = read_calibration(model, model_sha256=digest)
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
    stored = calibration.gallery_depth
    among = "" if stored is None else f" in a gallery of Res{stored}"

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
        f"Res{calibration.depth}{among}{flip}: {evidence.num_persons:,} {words} of "
        f"{evidence.data}, {evidence.num_searches:,} searches,",
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
