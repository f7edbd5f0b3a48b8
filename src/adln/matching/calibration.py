"""Calibration: what a score means, as matched, candidate or unknown with a probability.

A cosine of 0.6 is proof in a gallery of ten people and an accident in one of a million: each
further person is one more stranger who may look alike. So thresholds belong to a size of gallery,
counted in persons, and to a stated error rate: the share of searches for people who are *not*
enrolled that are answered all the same (FPIR of ISO/IEC 19795-1). `adln.evaluation.calibrating`
fits them.

A calibration is kept beside its model, as ``<model file>.calibration.json``, and names the model's
digest. The networks that come with adln bring one; what somebody fits to them is kept in that
person's own folder instead, where it goes before the one that came with them. A calibration is not
written into the model: galleries and feature files know a model by its digest, and a new
calibration must not make them foreign. It belongs to the cameras as much as to the model, too.
(The ``calibration`` in a model's manifest is another thing: the ranges of int8.)

Where embeddings of several depths share a space, a score belongs to a pair of depths: the query's
and that of the embedding found. `Scales` says what it means.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

from adln.atomic import atomic_write, is_there, require_regular, user_folder
from adln.errors import ModelFileError, SettingsError
from adln.strict import read_strictly

FORMAT = "adln-calibration-1"
ENDING = ".calibration.json"
Verdict = Literal["matched", "candidate", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer to a search.

    Attributes:
        verdict: "matched", "candidate" (for a person to look at) or "unknown".
        probability: That the best person found is the right one, in 0..1.
        match: The score from which on it would be "matched"; None if there was none to judge.
        candidate: The score from which on it would be "candidate".
    """

    verdict: Verdict
    probability: float
    match: float | None = None
    candidate: float | None = None


def verdict_at(score: float, *, match: float, candidate: float) -> Verdict:
    """What a score means by two thresholds."""
    if score >= match:
        return "matched"
    return "candidate" if score >= candidate else "unknown"


class Scale(Protocol):
    """Says what a score means; `Calibration` does."""

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        """Turn the best score of a search into an answer."""


_CAUTION: tuple[Verdict, ...] = ("unknown", "candidate", "matched")


def more_cautious(one: Verdict, other: Verdict) -> Verdict:
    """The lesser of two verdicts."""
    return min(one, other, key=_CAUTION.index)


@dataclass(frozen=True)
class MostCautious:
    """A scale that asks several others and keeps to the most cautious of them.

    Attributes:
        scales: Those asked, at least one.
    """

    scales: tuple[Scale, ...]

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        """The least of the verdicts, and the least of the probabilities."""
        decisions = [scale.decide(score, gallery_size) for scale in self.scales]
        return Decision(
            verdict=min((one.verdict for one in decisions), key=_CAUTION.index),
            probability=min(one.probability for one in decisions),
            match=_largest(one.match for one in decisions),
            candidate=_largest(one.candidate for one in decisions),
        )


def _largest(thresholds: Iterable[float | None]) -> float | None:
    return max((one for one in thresholds if one is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class Scales:
    """What scores mean between the depth of a query and that of a stored embedding.

    Attributes:
        own: Depth -> scale of queries among embeddings of their own depth.
        pairs: (query's depth, stored depth) -> scale that was fitted to this pair.
        otherwise: Scale of pairs that neither says anything of; None if there is none.
    """

    own: Mapping[int, Scale] = field(default_factory=dict)
    pairs: Mapping[tuple[int, int], Scale] = field(default_factory=dict)
    otherwise: Scale | None = None

    def joined(self, other: "Scales") -> "Scales":
        """These, and those of other depths; where both say something, the others."""
        return Scales(
            own={**self.own, **other.own},
            pairs={**self.pairs, **other.pairs},
            otherwise=self.otherwise if other.otherwise is None else other.otherwise,
        )

    def between(self, query_depth: int, stored_depth: int) -> Scale | None:
        """The scale of a pair of depths.

        A pair that nothing was fitted to is judged by the more cautious of the two depths' own
        scales, or by the one that is there; if there is neither, by `otherwise`.
        """
        pair = self.pairs.get((query_depth, stored_depth))
        if pair is not None and query_depth != stored_depth:
            return pair
        depths = dict.fromkeys((query_depth, stored_depth))
        scales = tuple(self.own[depth] for depth in depths if depth in self.own)
        if len(scales) > 1:
            return MostCautious(scales)
        return scales[0] if scales else self.otherwise


@dataclass(frozen=True, kw_only=True)
class Level:
    """The thresholds for one error rate.

    Attributes:
        rate: Share of searches for people who are not enrolled that exceed the threshold.
        thresholds: One for each of the calibration's gallery sizes, never falling.
    """

    rate: float
    thresholds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CalibrationEvidence:
    """What a calibration was fitted to.

    Attributes:
        kind: "persons" (named pictures) or "tracks".
        data: Name of the data.
        num_persons: Persons, or tracks.
        num_searches: Probes that were compared with all of them.
        num_comparisons: Comparisons of a probe with another person.
        across_cameras: Whether a person was found again under other cameras only. If not, finding
            people again is easier here than it will be between cameras.
    """

    kind: Literal["persons", "tracks"]
    data: str
    num_persons: int
    num_searches: int
    num_comparisons: int
    across_cameras: bool


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """What held on the half of the persons that a trial fit had not seen. Shares are in 0..1.

    Attributes:
        gallery_size: Persons enrolled in these searches.
        brier: Mean squared error of the probability.
        base_brier: The same if every answer gave the mean; a calibration must do better.
        log_loss: Mean negative log-likelihood, in nats.
        calibration_error: Expected calibration error, over ten groups of equal size.
        matched_strangers: Strangers answered with "matched"; to be compared with the rate asked.
        matched_enrolled: Enrolled people answered with "matched" and the right name.
        candidate_strangers: Strangers answered with "matched" or "candidate".
        candidate_enrolled: Enrolled people answered with either and the right name.
    """

    gallery_size: int
    brier: float
    base_brier: float
    log_loss: float
    calibration_error: float
    matched_strangers: float
    matched_enrolled: float
    candidate_strangers: float
    candidate_enrolled: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What scores mean at one depth of a model, or between two.

    Attributes:
        depth: 1 to 4, of the queries.
        flip: Whether embeddings are averages with the mirrored crop.
        sizes: Gallery sizes in persons, ascending from 1.
        match: Thresholds above which an answer is "matched".
        candidate: Thresholds above which it is "candidate"; the looser rate.
        slope: Of the log-odds that the best answer is right, over the score; above 0.
        size_slope: What a gallery e times as large takes off the log-odds; at least 0.
        intercept: Log-odds at a score of 0 in a gallery of one person.
        enrolled_share: Share of searches for enrolled people that the probability assumes.
        evidence: What it was fitted to.
        reliability: What held on persons not seen.
        gallery_depth: Depth of the stored embeddings; None if it is that of the queries.

    Raises:
        ModelFileError: A value is impossible.
    """

    depth: int
    flip: bool
    sizes: tuple[int, ...]
    match: Level
    candidate: Level
    slope: float
    size_slope: float
    intercept: float
    enrolled_share: float
    evidence: CalibrationEvidence
    reliability: Reliability
    gallery_depth: int | None = None

    def __post_init__(self) -> None:
        numbers = (self.slope, self.size_slope, self.intercept)
        levels = (self.match, self.candidate)
        checks = (
            (1 <= self.depth <= 4, "depth must be 1 to 4"),
            (
                self.gallery_depth is None
                or (1 <= self.gallery_depth <= 4 and self.gallery_depth != self.depth),
                "gallery_depth must be another depth, 1 to 4",
            ),
            (_rising(self.sizes, strictly=True), "sizes must rise"),
            (self.sizes[:1] == (1,), "sizes must begin with 1"),
            (
                all(len(level.thresholds) == len(self.sizes) for level in levels),
                "there must be a threshold for each size",
            ),
            (
                all(math.isfinite(value) for level in levels for value in level.thresholds),
                "thresholds must be finite",
            ),
            (all(_rising(level.thresholds) for level in levels), "thresholds must not fall"),
            (
                0 < self.match.rate <= self.candidate.rate < 1,
                "rates must be 0 < match <= candidate",
            ),
            (
                all(
                    loose <= strict
                    for loose, strict in zip(
                        self.candidate.thresholds, self.match.thresholds, strict=False
                    )
                ),
                "a candidate's threshold must not exceed that of a match",
            ),
            (all(map(math.isfinite, numbers)), "the fit must be finite"),
            (self.slope > 0, "slope must be positive"),
            (self.size_slope >= 0, "size_slope must not be negative"),
            (0 < self.enrolled_share < 1, "enrolled_share must be between 0 and 1"),
        )
        problems = [text for is_fine, text in checks if not is_fine]
        if problems:
            raise ModelFileError(f"not a calibration: {'; '.join(problems)}")

    @property
    def largest_size(self) -> int:
        """Persons in the largest gallery that was measured; beyond, thresholds are extrapolated."""
        return self.sizes[-1]

    def threshold(self, level: Level, gallery_size: int) -> float:
        """The threshold in a gallery of so many persons.

        Between the sizes measured it is linear in their logarithm. Beyond the largest it goes on
        as steeply as it rose over any of the last three of them, which errs on the strict side;
        that of a candidate never above that of a match.

        Args:
            level: `match` or `candidate`.
            gallery_size: Persons enrolled, at least 1.

        Raises:
            SettingsError: The size is below 1.
        """
        if gallery_size < 1:
            raise SettingsError(f"A gallery of {gallery_size} persons has no threshold.")
        found = self._extended(level, gallery_size)
        if level is self.candidate:
            return min(found, self._extended(self.match, gallery_size))
        return found

    def _extended(self, level: Level, gallery_size: int) -> float:
        logs = [math.log(size) for size in self.sizes]
        at = math.log(gallery_size)
        steps = [
            (logs[i + 1] - logs[i], level.thresholds[i + 1] - level.thresholds[i])
            for i in range(len(logs) - 1)
        ]
        if at >= logs[-1]:
            steepest = max((rise / run for run, rise in steps[-3:]), default=0.0)
            return level.thresholds[-1] + steepest * (at - logs[-1])
        i = max(index for index, log in enumerate(logs) if log <= at)
        run, rise = steps[i]
        return level.thresholds[i] + rise * (at - logs[i]) / run

    def probability(self, score: float, gallery_size: int) -> float:
        """Probability that the best person found is the right one.

        It assumes that `enrolled_share` of all searches are for people who are enrolled.

        Args:
            score: The best person's cosine.
            gallery_size: Persons enrolled, at least 1.

        Raises:
            SettingsError: The size is below 1, or the score is not a number.
        """
        if gallery_size < 1 or not math.isfinite(score):
            raise SettingsError(
                f"A probability needs a finite score and a gallery of one person or more, got "
                f"{score} and {gallery_size}."
            )
        odds = self.intercept + self.slope * score - self.size_slope * math.log(gallery_size)
        # Written so that neither branch overflows.
        return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        """Turn the best score of a search into an answer.

        Args:
            score: The best person's cosine; None if the search found nobody.
            gallery_size: Persons enrolled; with a filter, those that the filter leaves.

        Raises:
            SettingsError: See `probability`.
        """
        if score is None or gallery_size == 0:
            return Decision(verdict="unknown", probability=0.0)
        probability = self.probability(score, gallery_size)
        match = self.threshold(self.match, gallery_size)
        # Where few sizes were measured, the looser thresholds may be extrapolated above these.
        candidate = min(self.threshold(self.candidate, gallery_size), match)
        return Decision(
            verdict=verdict_at(score, match=match, candidate=candidate),
            probability=probability,
            match=match,
            candidate=candidate,
        )


@dataclass(frozen=True, kw_only=True)
class CalibrationFile:
    """All calibrations of one model file.

    Attributes:
        model_sha256: Hex digest of the model file.
        source_sha256: Hex digest of the network that the model file was exported from.
        precision: "fp32", "fp16" or "int8".
        adln_version: Version that calibrated.
        created_utc: When, ISO 8601.
        calibrations: One for each depth (of queries, and of the gallery) and flip.
        format: Version of this file.
    """

    model_sha256: str
    source_sha256: str
    precision: str
    adln_version: str
    created_utc: str
    calibrations: tuple[Calibration, ...]
    format: str = FORMAT

    def of(self, depth: int, *, flip: bool) -> Calibration | None:
        """The calibration for a depth, with or without the mirrored crop; None if there is none."""
        return next(
            (
                one
                for one in self.calibrations
                if (one.depth, one.flip, one.gallery_depth) == (depth, flip, None)
            ),
            None,
        )

    def scales(self, *, flip: bool) -> Scales:
        """All that is known of this model's depths, with or without the mirrored crop."""
        known = [one for one in self.calibrations if one.flip == flip]
        return Scales(
            own={one.depth: one for one in known if one.gallery_depth is None},
            pairs={
                (one.depth, one.gallery_depth): one
                for one in known
                if one.gallery_depth is not None
            },
        )


def calibration_path(model_path: Path, *, model_sha256: str = "") -> Path:
    """Where a new calibration of a model is kept.

    Args:
        model_path: The model file.
        model_sha256: Its digest, needed for a network that comes with adln.

    Returns:
        Beside the model, under its name with an ending. For a network that comes with adln, whose
        own calibration must stay what it is: in the folder ``adln/calibrations`` of
        ``$XDG_CONFIG_HOME`` (``~/.config``), with the start of the digest in the name.
    """
    if not _is_shipped(model_path):
        return _beside(model_path)
    name = f"{model_path.stem}-{model_sha256[:12]}{model_path.suffix}{ENDING}"
    return user_folder("config") / "calibrations" / name


def _is_shipped(model_path: Path) -> bool:
    return model_path.resolve().is_relative_to(Path(__file__).parents[1].resolve())


def _beside(model_path: Path) -> Path:
    return model_path.with_name(model_path.name + ENDING)


def write_calibration(
    content: CalibrationFile, model_path: Path, *, path: Path | None = None
) -> Path:
    """Write a model's calibration; whoever looks finds the old file or the whole new one.

    Args:
        content: What to write.
        model_path: The model file.
        path: Where to; see `calibration_path` if left out.

    Returns:
        The file written.

    Raises:
        SettingsError: The disk refuses.
    """
    if path is None:
        path = calibration_path(model_path, model_sha256=content.model_sha256)
    with atomic_write(
        path, raises=SettingsError, instead="make the folder writable", folders=True
    ) as file:
        file.write(json.dumps(asdict(content), indent=1).encode())
    return path


def read_calibration(model_path: str | Path, *, model_sha256: str) -> CalibrationFile | None:
    """Read a model's calibration: one's own, or the one beside it.

    Args:
        model_path: The model file.
        model_sha256: Its digest.

    Returns:
        The calibration; None if the model has none.

    Raises:
        ModelFileError: The file is damaged, or was made for another model.
    """
    model_path = Path(model_path)
    path = calibration_path(model_path, model_sha256=model_sha256)
    if not is_there(path):
        path = _beside(model_path)
    require_regular(path, raises=ModelFileError, expected="a calibration of `adln calibrate`")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path}: cannot be read ({error}). {_AGAIN}") from error
    try:
        values = json.loads(text)
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise ModelFileError(
                f"its format is {values.get('format')!r}, this version of adln reads {FORMAT!r}"
            )
        content = read_strictly(CalibrationFile, values, "file")
    except (json.JSONDecodeError, ModelFileError) as error:
        raise ModelFileError(f"{path}: no calibration of adln: {error}. {_AGAIN}") from error
    if content.model_sha256 != model_sha256:
        raise ModelFileError(
            f"{path} was made for the model {content.model_sha256[:12]}, but {model_path.name} is "
            f"{model_sha256[:12]}. {_AGAIN}"
        )
    return content


def parse_one(values: object, *, name: str) -> Calibration:
    """Read one calibration out of plain values, as `dataclasses.asdict` gives them.

    Raises:
        ModelFileError: it is damaged.
    """
    return read_strictly(Calibration, values, name)


_AGAIN = "Calibrate with `adln calibrate`, or remove the file to go without."


def _rising(values: tuple[float, ...], *, strictly: bool = False) -> bool:
    pairs = list(pairwise(values))
    return bool(values) and all(a < b if strictly else a <= b for a, b in pairs)
