"""Calibration: maps a score to matched, candidate or unknown, with a probability.

A cosine of 0.6 is convincing in a gallery of ten people and coincidence in one of a million: each
further person is another stranger who may look similar. So thresholds depend on the gallery size,
in persons, and on a stated error rate: the share of searches for people who are *not* enrolled that
are answered nevertheless (FPIR of ISO/IEC 19795-1). `adln.evaluation.calibrating` fits them.

A calibration is stored beside its network, as ``<model file>.calibration.json``, with the file's
digest. Networks that come with adln have one; a user's own calibration of them is stored in the
user's configuration folder and takes precedence. It is not part of the network file: galleries and
feature files identify a network by its digest, which a new calibration must not change. It also
depends on the cameras as much as on the network. (The ``calibration`` in a manifest is different:
the ranges of int8.)

If embeddings of several depths share a space, a score belongs to a pair of depths: that of the
query and that of the stored embedding; see `Scales`.
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
from adln.strict import parse_json, read_strictly

FORMAT = "adln-calibration-1"
ENDING = ".calibration.json"
Verdict = Literal["matched", "candidate", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer to a search.

    Attributes:
        verdict: "matched", "candidate" (to be checked by a person) or "unknown".
        probability: Probability that the best person found is the right one, 0..1.
        match: Lowest score of "matched"; None if there was no score to judge.
        candidate: Lowest score of "candidate".
    """

    verdict: Verdict
    probability: float
    match: float | None = None
    candidate: float | None = None


def verdict_at(score: float, *, match: float, candidate: float) -> Verdict:
    """The verdict on a score, by two thresholds."""
    if score >= match:
        return "matched"
    return "candidate" if score >= candidate else "unknown"


class Scale(Protocol):
    """Judges scores, such as `Calibration`."""

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        """Turn the best score of a search into an answer."""


_CAUTION: tuple[Verdict, ...] = ("unknown", "candidate", "matched")


def more_cautious(one: Verdict, other: Verdict) -> Verdict:
    """The more cautious of two verdicts."""
    return min(one, other, key=_CAUTION.index)


@dataclass(frozen=True)
class MostCautious:
    """A scale that combines others by their most cautious answer.

    Attributes:
        scales: At least one.
    """

    scales: tuple[Scale, ...]

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        """The most cautious verdict and the lowest probability."""
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
    """Scales for pairs of query depth and stored depth.

    Attributes:
        own: Depth -> scale of queries among embeddings of their own depth.
        pairs: (query depth, stored depth) -> scale fitted to this pair.
        otherwise: Scale for all other pairs; None if there is none.
    """

    own: Mapping[int, Scale] = field(default_factory=dict)
    pairs: Mapping[tuple[int, int], Scale] = field(default_factory=dict)
    otherwise: Scale | None = None

    def joined(self, other: "Scales") -> "Scales":
        """These scales combined with others, which take precedence."""
        return Scales(
            own={**self.own, **other.own},
            pairs={**self.pairs, **other.pairs},
            otherwise=self.otherwise if other.otherwise is None else other.otherwise,
        )

    def between(self, query_depth: int, stored_depth: int) -> Scale | None:
        """The scale for a pair of depths.

        Without a fit to the pair it is the more cautious of the two depths' own scales, or the only
        one of them; if there is neither, `otherwise`.
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
        thresholds: One for each of the calibration's gallery sizes, non-decreasing.
    """

    rate: float
    thresholds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CalibrationEvidence:
    """The data a calibration was fitted to.

    Attributes:
        kind: "persons" (named pictures) or "tracks".
        data: Name of the data.
        num_persons: Persons, or tracks.
        num_searches: Probes compared with all of them.
        num_comparisons: Comparisons of a probe with another person.
        across_cameras: Whether people were searched across cameras only. If not, finding people
            was easier than it will be between cameras.
    """

    kind: Literal["persons", "tracks"]
    data: str
    num_persons: int
    num_searches: int
    num_comparisons: int
    across_cameras: bool


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Figures on the half of the persons that a trial fit had not seen. Shares are in 0..1.

    Attributes:
        gallery_size: Persons enrolled in these searches.
        brier: Brier score: mean squared error of the probability.
        base_brier: Brier score of the constant mean; a calibration must be lower.
        log_loss: Mean negative log-likelihood, in nats.
        calibration_error: Expected calibration error, over ten groups of equal size.
        matched_strangers: Share of strangers answered with "matched"; compare with its `rate`.
        matched_enrolled: Share of enrolled people answered with "matched" and the right name.
        candidate_strangers: Share of strangers answered with "matched" or "candidate".
        candidate_enrolled: Share of enrolled people answered with either and the right name.
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
    """Calibration of scores at one depth of a network, or between two depths.

    Attributes:
        depth: 1 to 4, of the queries.
        flip: Whether embeddings are averaged with those of the mirrored crops.
        sizes: Gallery sizes in persons, ascending from 1.
        match: Thresholds of "matched".
        candidate: Thresholds of "candidate", with the higher rate.
        slope: Increase per score of the log-odds that the best answer is right; above 0.
        size_slope: Decrease of the log-odds in a gallery e times as large; at least 0.
        intercept: Log-odds at a score of 0 in a gallery of one person.
        enrolled_share: Share of searches for enrolled people that the probability assumes.
        evidence: The data it was fitted to.
        reliability: Figures on unseen persons.
        gallery_depth: Depth of the stored embeddings; None if it is that of the queries.

    Raises:
        ModelFileError: A value is invalid.
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
            (_rising(self.sizes, strictly=True), "sizes must increase"),
            (self.sizes[:1] == (1,), "sizes must begin with 1"),
            (
                all(len(level.thresholds) == len(self.sizes) for level in levels),
                "there must be a threshold for each size",
            ),
            (
                all(math.isfinite(value) for level in levels for value in level.thresholds),
                "thresholds must be finite",
            ),
            (all(_rising(level.thresholds) for level in levels), "thresholds must not decrease"),
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
        """Largest gallery size measured, in persons; beyond it, thresholds are extrapolated."""
        return self.sizes[-1]

    def threshold(self, level: Level, gallery_size: int) -> float:
        """The threshold in a gallery of a given size.

        Between measured sizes it is linear in their logarithm. Beyond the largest it continues with
        the steepest slope among the last three, which errs on the strict side; a candidate's never
        exceeds a match's.

        Args:
            level: `match` or `candidate`.
            gallery_size: Persons enrolled, at least 1.

        Raises:
            SettingsError: The size is below 1.
        """
        if gallery_size < 1:
            raise SettingsError(f"The gallery size must be at least 1, got {gallery_size}.")
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

        Assumes that `enrolled_share` of all searches are for enrolled people.

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
        # A form of the logistic function that cannot overflow.
        return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        """Turn the best score of a search into an answer.

        Args:
            score: The best person's cosine; None if the search found no one.
            gallery_size: Persons enrolled, after filtering.

        Raises:
            SettingsError: See `probability`.
        """
        if score is None or gallery_size == 0:
            return Decision(verdict="unknown", probability=0.0)
        probability = self.probability(score, gallery_size)
        match = self.threshold(self.match, gallery_size)
        # With few measured sizes, extrapolated candidate thresholds may exceed those of a match.
        candidate = min(self.threshold(self.candidate, gallery_size), match)
        return Decision(
            verdict=verdict_at(score, match=match, candidate=candidate),
            probability=probability,
            match=match,
            candidate=candidate,
        )


@dataclass(frozen=True, kw_only=True)
class CalibrationFile:
    """All calibrations of one network file.

    Attributes:
        model_sha256: Hex digest of the network file.
        source_sha256: Hex digest of the network that it was exported from.
        precision: "fp32", "fp16" or "int8".
        adln_version: Version of adln that calibrated.
        created_utc: Time of creation, ISO 8601.
        calibrations: One for each depth (of queries, and of the gallery) and flip.
        format: Version of the file format.
    """

    model_sha256: str
    source_sha256: str
    precision: str
    adln_version: str
    created_utc: str
    calibrations: tuple[Calibration, ...]
    format: str = FORMAT

    def of(self, depth: int, *, flip: bool) -> Calibration | None:
        """The calibration of a depth, with or without flip; None if there is none."""
        return next(
            (
                one
                for one in self.calibrations
                if (one.depth, one.flip, one.gallery_depth) == (depth, flip, None)
            ),
            None,
        )

    def scales(self, *, flip: bool) -> Scales:
        """The scales of all depths, with or without flip."""
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
    """Path of a new calibration of a network.

    Args:
        model_path: The network file.
        model_sha256: Its digest, needed for a network that comes with adln.

    Returns:
        A path beside the network file. For a network that comes with adln, whose own calibration
        must not change: a path in ``$XDG_CONFIG_HOME/adln/calibrations`` (default ``~/.config``),
        with the start of the digest in the name.
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
    """Write a calibration atomically: readers see the old file or the complete new one.

    Args:
        content: What to write.
        model_path: The network file.
        path: The file to write; by default see `calibration_path`.

    Returns:
        The file written.

    Raises:
        SettingsError: It cannot be written.
    """
    if path is None:
        path = calibration_path(model_path, model_sha256=content.model_sha256)
    with atomic_write(path, raises=SettingsError, instead="make the folder writable") as file:
        file.write(json.dumps(asdict(content), indent=1).encode())
    return path


def read_calibration(model_path: str | Path, *, model_sha256: str) -> CalibrationFile | None:
    """Read a network's calibration: the user's own, or otherwise the one beside the file.

    Args:
        model_path: The network file.
        model_sha256: Its digest.

    Returns:
        The calibration; None if there is none.

    Raises:
        ModelFileError: The file is damaged or belongs to another network.
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
        values = parse_json(text)
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise ModelFileError(
                f"its format is {values.get('format')!r}, this version of adln reads {FORMAT!r}"
            )
        content = read_strictly(CalibrationFile, values, "file")
    except (ValueError, ModelFileError) as error:
        raise ModelFileError(f"{path}: not a calibration of adln: {error}. {_AGAIN}") from error
    if content.model_sha256 != model_sha256:
        raise ModelFileError(
            f"{path} was made for network {content.model_sha256[:12]}, but {model_path.name} is "
            f"{model_sha256[:12]}. {_AGAIN}"
        )
    return content


def parse_one(values: object, *, name: str) -> Calibration:
    """Build a calibration from plain values, as `dataclasses.asdict` returns them.

    Raises:
        ModelFileError: they are invalid.
    """
    return read_strictly(Calibration, values, name)


_AGAIN = "Run `adln calibrate`, or remove the file to work without calibration."


def _rising(values: tuple[float, ...], *, strictly: bool = False) -> bool:
    pairs = list(pairwise(values))
    return bool(values) and all(a < b if strictly else a <= b for a, b in pairs)
