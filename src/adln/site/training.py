"""From the crops of a site to a network for it: train, export, evaluate, write.

The network learns from clusters of tracks (`adln.site.lesson`) and a teacher, or from one of them
if there is no teacher or hardly anybody passes two cameras. The earlier half of the tracks is used
for training and calibration, the later half for evaluation. The exported file itself is evaluated,
and gets its name only if it is significantly better than the network in use. Each step leaves its
result in the work folder, so that an interrupted run can resume.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import adln
from adln.atomic import atomic_write, file_sha256
from adln.datasets.loading import load_crops
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network
from adln.embeddings import unit_length
from adln.errors import CheckpointError, EvaluationError, SettingsError, TracksError
from adln.evaluation.calibrating import calibrate, track_material
from adln.export.exporting import export_network
from adln.manifest import SPACE_DIGITS
from adln.matching.adaptation import TrackedCrops
from adln.matching.bridge import exit_name
from adln.matching.calibration import CalibrationFile, write_calibration
from adln.matching.network_gate import NetworkComparison, compare_networks, require_learnable
from adln.model.checkpoint import load_network
from adln.site.bridging import write_if_better
from adln.site.clusters import MOST_TRACKS
from adln.site.crops import SiteCrops
from adln.site.lesson import ClusterLesson, clusters_teach, with_lesson
from adln.site.recipes import (
    cluster_recipe,
    require_start,
    require_trained,
    site_recipe,
    start_space,
)
from adln.site.refitting import refit_file
from adln.site.teacher import DeviceTeacher
from adln.site.terms import origin, terms
from adln.site.trial import trial_step_s
from adln.strict import parse_json
from adln.training.data import UNLABELLED, TrainingData, evenly
from adln.training.loop import Progress, build_fabric, train
from adln.training.recipe import Recipe
from adln.training.stopping import StopCheck, never

ENDING = ".site.json"
"""Suffix of the file beside a network that records its origin."""
_OUTCOME, _PLAN, _CANDIDATE = "outcome.json", "plan.json", "candidate.onnx"
_REFITTED = "refitted.safetensors"
_NO_TEACHER = "none: learned from the clusters of this site's tracks"
_MOST_CROPS = 15_000  # 1.5 GB at 256x128 px
# A network already in the teacher's space trains at the full rate only if at least this many steps
# follow to converge again; a short run must not make it worse. Adam's first steps are as large as
# the rate in every direction, so the rate warms up.
_STEPS_AT_FULL_RATE = 1000
_STEPS_AT_FULL_RATE_OF_CLUSTERS = 100
_STEPS_OF_WARMUP = 40
_KEPT_FREE = 0.9  # of the time for training; the rest is for export and evaluation


@dataclass(frozen=True, kw_only=True)
class SiteRequest:
    """Arguments of a site training.

    Attributes:
        start: network (.safetensors) or ImageNet weights to start from.
        teacher: network to learn from, by name or file; "" learns from clusters only.
        network: the network in use, by name or file, which the new one must beat.
        out: .onnx file to write.
        work: folder for intermediate results.
        depth: depth at which the new network ends, 1 to 4.
        seconds: time for the training.
        epochs: number of epochs, in place of the time.
        new_space: whether the new network may have its own space.
    """

    start: Path
    teacher: str
    network: str
    out: Path
    work: Path
    depth: int = 2
    seconds: float = 8 * 3600.0
    epochs: int | None = None
    new_space: bool = False


@dataclass(frozen=True)
class SiteOutcome:
    """Result of a site training.

    `reason` says why there is a new network (`written`) or none, or why it stopped early. `facts`
    are plain values for the record file. `judging` (N,) are the positions of the evaluation crops;
    it and `comparison` are None if this call did not evaluate.
    """

    reason: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    comparison: NetworkComparison | None = None
    judging: NDArray[np.int64] | None = None

    @property
    def finished(self) -> bool:
        """Whether it is complete; if not, the same call resumes it."""
        return bool(self.facts)

    @property
    def written(self) -> bool:
        """Whether there is a new network."""
        return bool(self.facts.get("written"))


def past_outcome(request: SiteRequest) -> SiteOutcome | None:
    """Outcome of a complete run in this work folder, if any; SettingsError if it is another's."""
    facts = _read(request.work / _OUTCOME)
    if facts is None:
        return None
    if facts.get("out") != str(request.out.absolute()):
        raise SettingsError(
            f"{request.work}: belongs to a run that wrote {facts.get('out')}. Name another --work."
        )
    return SiteOutcome(str(facts["reason"]), facts)


def is_begun(work: Path) -> bool:
    """Whether a training in this work folder has begun, which goes on with the same crops only."""
    return (work / _PLAN).is_file()


def require_new(request: SiteRequest) -> None:
    """Raise SettingsError if the output is a file that this same run has not written."""
    candidate = request.work / _CANDIDATE
    if request.out.exists() and not (
        candidate.is_file() and request.out.read_bytes() == candidate.read_bytes()
    ):
        raise SettingsError(
            f"{request.out}: already exists, and a network in use is never overwritten. Name a "
            "new file; `adln networks use` then replaces the network in use."
        )


def require_same_space(request: SiteRequest) -> None:
    """Raise SettingsError if stored embeddings would not compare with the new network's.

    It is not raised with `new_space`. ModelFileError is, if the teacher or the network in use
    cannot be opened.
    """
    _require_same_space(request, _teacher(request), _open(request.network))


def _require_same_space(
    request: SiteRequest, teacher: DeviceTeacher | None, in_use: OnnxEmbedder
) -> None:
    if request.new_space:
        return
    depth = _depth_of(in_use, request.depth)
    own = in_use.manifest.space_of(depth) or in_use.model.sha256[:SPACE_DIGITS]
    space = start_space(request.start) if teacher is None else teacher.space
    if own != space:
        raise SettingsError(
            f"{request.teacher or request.start} lies in space {space or 'of its own'}, the "
            f"network in use {request.network} in {own}: a network that learns from it would not "
            f"be comparable with galleries. Name a {'teacher' if teacher else 'start'} of the same "
            "space (`adln networks --json` and the networks' cards list spaces), or --new-space "
            "for a network that needs a new gallery."
        )


def _teacher(request: SiteRequest) -> DeviceTeacher | None:
    require_start(request.start)
    if request.teacher:
        return DeviceTeacher(request.teacher)
    require_trained(request.start)
    return None


def train_for_site(
    request: SiteRequest,
    crops: SiteCrops,
    *,
    say: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: StopCheck = never,
    device: str = "auto",
) -> SiteOutcome:
    """Train on the crops of a site; write the network if it is better.

    `say` is called with a description of each step, `should_stop` asked after each step of the
    training, whose device is "auto", "cpu" or "cuda".

    Raises:
        TracksError: nothing can be learned from these tracks.
        SettingsError: the spaces differ, or the work folder belongs to another run.
        AdlnError: a file cannot be used; the message says which.
    """
    teacher, in_use = _teacher(request), _open(request.network)
    _require_same_space(request, teacher, in_use)
    depth = _depth_of(in_use, request.depth)
    say(f"embedding {crops.describe()} with {request.teacher or request.network}")
    by = (in_use, depth) if teacher is None else (teacher.embedder, teacher.depth)
    looked = _embed(*by, crops)
    is_judging = require_learnable(looked)
    if len(crops.camera_names) == 1:
        if teacher is None:
            raise TracksError(
                "one camera only: without a teacher, training needs people who are seen by several "
                "cameras, and tracks of one camera cannot show whether it worked. Add another "
                "camera, or name a --teacher."
            )
        say("one camera only: recognition across cameras cannot be evaluated")
    fitting, judging = np.flatnonzero(~is_judging), np.flatnonzero(is_judging)
    request.work.mkdir(parents=True, exist_ok=True)
    candidate = request.work / _CANDIDATE
    plan = _plan(request, crops, fitting, teacher, in_use)
    if not candidate.is_file():
        if "clusters" not in plan:
            # A run of an earlier version, which had no cluster lesson, resumes without it.
            plan["clusters"] = teacher is None or (
                "epochs" not in plan
                and start_space(request.start) == teacher.space
                and clusters_teach(looked.part(_of_few_tracks(crops, fitting)), say)
            )
        taught = looked.embeddings if teacher is not None and plan["clusters"] else None
        data, recipe, lesson = _prepare(request, crops, fitting, teacher, plan, taught, say)
        outcome = train(
            recipe,
            data,
            request.work / "run",
            fabric=build_fabric(recipe, device=device),
            teacher=teacher if lesson is None else None,
            lesson=lesson,
            provenance={"data": origin(request.start, crops)},
            should_stop=should_stop,
            on_start=lambda start, _: say(start),
            on_progress=on_progress,
        )
        if not outcome.finished:
            return SiteOutcome(outcome.reason)
        del data
        learned = outcome.network_path
        if lesson is None:
            rows = _spread(fitting, _MOST_CROPS)
            say("fitting the last layer to the teacher")
            learned = refit_file(
                learned,
                request.work / _REFITTED,
                request.depth,
                [crops.paths[at] for at in rows],
                looked.part(rows),
                weights=recipe.objective,
            )
        export_network(
            learned,
            candidate,
            depths=(request.depth,),
            precision="int8",
            calibrate=[crops.paths[at] for at in fitting],
            licence=terms(request.start, request.teacher, teacher),
            on_step=say,
        )
    say("evaluating the old and the new network on the held-out tracks")
    new = OnnxEmbedder(candidate)
    before = _embed(in_use, depth, crops, judging)
    after = _embed(new, request.depth, crops, judging)
    space = new.manifest.space_of(request.depth)
    same_space = space == in_use.manifest.space_of(depth) and not request.new_space
    comparison = compare_networks(before, after, same_space=same_space)
    facts = {
        "written": comparison.is_better,
        "reason": comparison.reason,
        "out": str(request.out.absolute()),
        "created_utc": _now(),
        "adln_version": adln.__version__,
        "crops": crops.describe(),
        "learned_from": f"{len(fitting):,} crops, evaluated on {len(judging):,}",
        "start": {"file": request.start.name, "sha256": _digest(request.start)},
        "teacher": {"name": _NO_TEACHER}
        if teacher is None
        else _about(request.teacher, teacher.embedder),
        "network_in_use": _about(request.network, in_use),
        "space": space,
        "same_space": same_space,
        "terms": terms(request.start, request.teacher, teacher),
        "depth": request.depth,
        "plan": dict(plan),
        "comparison": _figures(comparison),
        "network_sha256": new.model.sha256,
        "calibration": "",
        "bridge": "none: the new network has its own space",
    }
    if comparison.is_better:
        facts["calibration"] = _calibrate(new, request, after, crops)
        if same_space:
            say("fitting a bridge for stored embeddings")
            old = looked if teacher is None else _embed(in_use, depth, crops)
            facts["bridge"] = write_if_better(
                request.out,
                old,
                _embed(new, request.depth, crops),
                is_judging,
                source=exit_name(in_use.model.sha256, depth),
                target=exit_name(new.model.sha256, request.depth),
                space=space,
            )
        _write(request.out.with_name(request.out.name + ENDING), facts)
        with atomic_write(request.out, raises=SettingsError) as file:
            file.write(candidate.read_bytes())
    _write(request.work / _OUTCOME, facts)
    return SiteOutcome(comparison.reason, facts, comparison, judging)


def _open(network: str) -> OnnxEmbedder:
    return OnnxEmbedder(find_network(network))


def _depth_of(in_use: OnnxEmbedder, wanted: int) -> int:
    """The depth at which the network in use is evaluated."""
    return wanted if wanted in in_use.depths else in_use.depths[-1]


def _embed(
    embedder: OnnxEmbedder, depth: int, crops: SiteCrops, rows: NDArray[np.int64] | None = None
) -> TrackedCrops:
    rows = np.arange(len(crops)) if rows is None else rows
    answer = embedder.embed_pictures([crops.paths[at] for at in rows])
    if answer.unusable:
        raise SettingsError(
            f"{len(answer.unusable)} crops cannot be read, first: {answer.unusable[0].reason} "
            "Remove them and start again."
        )
    return TrackedCrops(
        answer.embeddings[depth],
        crops.cameras[rows],
        crops.tracks[rows],
        None if crops.time_s is None else crops.time_s[rows],
    )


def _plan(
    request: SiteRequest,
    crops: SiteCrops,
    fitting: NDArray[np.int64],
    teacher: DeviceTeacher | None,
    in_use: OnnxEmbedder,
) -> dict[str, Any]:
    """What must not change when a run resumes, plus the choices made before."""
    names = hashlib.sha256()
    for at in fitting:
        path = crops.paths[at]
        names.update(os.fsencode(f"{path.parent.name}/{path.name} {path.stat().st_size}\n"))
    own = {
        "crops": names.hexdigest()[:16],
        "start": _digest(request.start)[:16],
        "teacher": "none" if teacher is None else teacher.digest[:16],
        "in_use": in_use.model.sha256[:16],
        "depth": request.depth,
        "seconds": request.seconds if request.epochs is None else None,
        "new_space": request.new_space,
    }
    known = _read(request.work / _PLAN) or {}
    differing = [name for name, value in own.items() if known and known.get(name) != value]
    if differing:
        raise SettingsError(
            f"{request.work}: belongs to a run with another {', '.join(differing)}. Resume it "
            "with its original arguments, or name another --work."
        )
    return {**own, **known}


def _prepare(
    request: SiteRequest,
    crops: SiteCrops,
    fitting: NDArray[np.int64],
    teacher: DeviceTeacher | None,
    plan: dict[str, Any],
    taught: NDArray[np.float32] | None,
    say: Callable[[str], None],
) -> tuple[TrainingData, Recipe, ClusterLesson | None]:
    """Read the crops, and choose (and keep in the plan) the number of epochs that fits the time."""
    if teacher is None or taught is not None:
        recipe = cluster_recipe(request.start, depth=request.depth, teacher_path=request.teacher)
        fitting = _of_few_tracks(crops, fitting)
    else:
        recipe = site_recipe(
            request.start,
            teacher_path=request.teacher,
            teacher_size=teacher.crop_size,
            depth=request.depth,
        )
    rows = _spread(fitting, plan.get("crops_used", min(len(fitting), _MOST_CROPS)))
    data, lesson = _load(request, crops, rows, recipe, taught, say)
    batch = min(recipe.batch.unlabelled, len(rows))
    recipe = replace(recipe, batch=replace(recipe.batch, unlabelled=batch))
    epochs = request.epochs
    if epochs is None and "epochs" not in plan:
        say("measuring the training speed of this machine")
        live = teacher if lesson is None else None
        step_s = trial_step_s(recipe, data, request.work / "trial", teacher=live, lesson=lesson)
        say(f"a step takes {step_s:.2f} s")
        steps = max(1, int(_KEPT_FREE * request.seconds / step_s))
        if steps < len(rows) // batch:  # less than one epoch
            rows = _spread(fitting, max(batch, steps * batch))
            data, lesson = _load(request, crops, rows, recipe, taught, say)
        epochs = max(1, steps // max(1, len(rows) // batch))
    if epochs is not None:
        plan |= {"epochs": epochs, "crops_used": len(rows), "steps": max(1, len(rows) // batch)}
        _write(request.work / _PLAN, plan)
    total = plan["epochs"] * plan["steps"]
    say(f"training on {len(rows):,} crops for {plan['epochs']:,} epochs: {total:,} steps")
    gentle = 1.0
    if lesson is not None:
        gentle = min(1.0, math.sqrt(total / _STEPS_AT_FULL_RATE_OF_CLUSTERS))
    elif teacher is not None and start_space(request.start) == teacher.space:
        gentle = min(1.0, math.sqrt(total / _STEPS_AT_FULL_RATE))
    schedule = replace(
        recipe.schedule,
        epochs=plan["epochs"],
        base_lr=recipe.schedule.base_lr * gentle,
        warmup_epochs=min(-(-_STEPS_OF_WARMUP // plan["steps"]), plan["epochs"] // 3),
    )
    recipe = replace(
        recipe,
        schedule=schedule,
        # Averages the last tenth of a short run, the last few hundred steps of a long one.
        average_decay=min(recipe.average_decay, max(0.0, 1 - 10 / total)),
    )
    return data, recipe, lesson


def _spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return rows[evenly(len(rows), count)]


def _of_few_tracks(crops: SiteCrops, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of at most as many tracks as clustering has memory for."""
    tracks = crops.tracks[rows]
    return rows[np.isin(tracks, _spread(np.unique(tracks), MOST_TRACKS))]


def _load(
    request: SiteRequest,
    crops: SiteCrops,
    rows: NDArray[np.int64],
    recipe: Recipe,
    taught: NDArray[np.float32] | None,
    say: Callable[[str], None],
) -> tuple[TrainingData, ClusterLesson | None]:
    """The crops, and the cluster lesson if it is used."""
    height, width = recipe.batch.stored_size_px
    pixels = load_crops([crops.paths[at] for at in rows], height_px=height, width_px=width)
    data = TrainingData(
        pixels,
        np.full(len(rows), UNLABELLED, np.int64),
        num_classes=1,
        fingerprint=hashlib.sha256(pixels.tobytes()).hexdigest()[:16],
    )
    if request.teacher and taught is None:
        return data, None
    return with_lesson(
        data,
        load_network(request.start),
        depth=request.depth,
        tracks=crops.tracks[rows],
        cameras=crops.cameras[rows],
        time_s=None if crops.time_s is None else crops.time_s[rows],
        taught=None if taught is None else unit_length(taught[rows]),
        bf16=recipe.precision != "32-true",
        say=say,
    )


def _calibrate(
    embedder: OnnxEmbedder, request: SiteRequest, judging: TrackedCrops, crops: SiteCrops
) -> str:
    """Fit the meaning of scores to the evaluation tracks; returns why not if they are too few."""
    if judging.time_s is None:
        return "none: it needs the times of the crops"
    material = track_material(judging.embeddings, judging.cameras, judging.tracks, judging.time_s)
    try:
        fitted = calibrate(
            material, depth=request.depth, flip=False, data=f"{crops.describe()} of this site"
        )
    except EvaluationError as error:
        return f"none: {error}"
    manifest = embedder.manifest
    content = CalibrationFile(
        model_sha256=embedder.model.sha256,
        source_sha256=manifest.source_sha256,
        precision=manifest.precision,
        adln_version=adln.__version__,
        created_utc=_now(),
        calibrations=(fitted,),
    )
    return str(write_calibration(content, request.out))


def _about(name: str, embedder: OnnxEmbedder) -> dict[str, str]:
    manifest = embedder.manifest
    return {
        "name": Path(name).name,
        "sha256": embedder.model.sha256,
        "licence": manifest.licence,
        "training_data": manifest.training_data,
    }


def _figures(comparison: NetworkComparison) -> dict[str, Any]:
    return {
        each.name: getattr(comparison, each.name)
        for each in fields(comparison)
        if not each.name.startswith("track_")
    }


def _digest(start: Path) -> str:
    return file_sha256(
        start,
        raises=CheckpointError,
        expected="weights to start from; --start names a trained network (.safetensors of "
        "`adln train`) or ImageNet weights of a ResNet-50",
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}). Name another --work.") from error
    return values


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with atomic_write(path, raises=SettingsError) as file:
        file.write(json.dumps(values, indent=1).encode())
