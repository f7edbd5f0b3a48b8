"""The gate: decides from tracks alone whether an adaptation helps at a site.

There are no labels, and matches across cameras are unknown. What is known: the crops of one track
show one person; different tracks nearly always show different people, and two tracks that one
camera sees at the same time always do. Each half of the tracks judges the candidates that are
fitted on the other half.

**Recognition.** Each crop searches for the other crops of its track among those of other people at
the same camera. First it is moved to another camera: the difference of the two cameras' means,
measured on the judging half, is added to its raw embedding. So a candidate that does not remove
this difference scores worse. There are two measures: the share of true pairs above the score that
1 % or 0.1 % of false pairs reach; and, for each true pair, the decimal logarithm of the share of
false pairs that score as high, which still separates good candidates when nearly all pairs are
found.

**Camera bias.** The share of crops whose most similar crop of another track is from the same
camera. A candidate that raises it distinguishes cameras, not people.

A candidate must be better than the current choice with confidence (paired bootstrap over tracks).
One that rescales directions must pass both measures of recognition. One that only subtracts means
must pass the second, or lower the camera bias without harming either. All others are refused with
a reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import TracksError
from adln.matching.adaptation import (
    Adaptation,
    Method,
    TrackedCrops,
    fit_adaptation,
)
from adln.matching.together import at_once

NONE = "none"
CENTRINGS = (
    Method(name="mean of all cameras", by_camera=False),
    Method(name="camera means", by_camera=True),
)
# Crops of one track that are closer in time are nearly the same picture.
GAP_S = 1.0
FEWEST_JUDGED = 40
NO_PAIRS = (
    "too few tracks: half of each camera's give no pairs to judge by, which takes two crops of one "
    f"track at least {GAP_S:g} s apart, and two tracks of one camera. Let the cameras run for "
    "longer."
)
"""Why sites are refused that cannot judge (`Site.can_judge`)."""
_MOST_TRACKS_OF_A_CAMERA = 400
_MOST_CROPS_OF_A_TRACK = 5
# From this many pairs of tracks seen together, only these are used as false pairs.
_ENOUGH_TOGETHER = 300
_PAIRS_FOR_ONE_IN_THOUSAND = 100_000
_RESAMPLES = 1000
_ERROR = 0.01
_MOST_ALIKE = 0.1
_MOST_SWITCHED = 0.15


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A candidate compared with the current choice, on tracks it was not fitted on.

    Attributes:
        method: name of the candidate.
        against: name of the current choice.
        recognised: share of true pairs above the score that `rate` of false pairs reach.
        gain: increase of that share.
        gain_least: lower bound of the gain, with 99 % confidence.
        log_gain: decrease of the logarithm of the false pairs' share.
        log_gain_least: its lower bound, with 99 % confidence.
        own_camera: share of crops whose nearest neighbour is from their own camera; None with one
            camera.
        is_better: whether it passed.
        reason: why or why not.
    """

    method: str
    against: str
    recognised: float
    gain: float
    gain_least: float
    log_gain: float
    log_gain_least: float
    own_camera: float | None
    is_better: bool
    reason: str


@dataclass(frozen=True, eq=False, kw_only=True)
class GateDecision:
    """What the gate decided.

    Attributes:
        adaptation: the adaptation to use, fitted on all tracks; None for none.
        held_out: tracks of the judging half, adapted by a fit on the other half, on which to fit
            thresholds; None without adaptation.
        reason: why, in words.
        rate: share of false pairs at which true pairs are counted.
        recognised_before: share of true pairs recognised without adaptation.
        own_camera_before: see `Comparison.own_camera`.
        comparisons: the candidates in the order in which they were tried.
        num_tracks: number of tracks usable for judging.
        num_together: pairs of tracks seen at the same time.
        alike: share of pairs of different tracks that look like one person.
        switched: share of tracks that look like two people.
    """

    adaptation: Adaptation | None
    reason: str
    rate: float = 0.01
    recognised_before: float = float("nan")
    own_camera_before: float | None = None
    comparisons: tuple[Comparison, ...] = ()
    held_out: TrackedCrops | None = None
    num_tracks: int = 0
    num_together: int = 0
    alike: float = float("nan")
    switched: float = float("nan")


def decide(
    crops: TrackedCrops, *, space: str = "", fitted_on: str = "", seed: int = 0
) -> GateDecision:
    """Choose an adaptation for a site, or none.

    Args:
        crops: crops of the site's tracks, as the network embedded them.
        space: the space of the embeddings.
        fitted_on: what the crops are, for display.
        seed: for the choice of tracks and the bootstrap.
    """
    rng = np.random.default_rng(seed)
    site = Site(thinned(crops, rng))
    facts: dict[str, Any] = {"num_tracks": site.num_judged, "num_together": site.num_together}
    if site.num_judged < FEWEST_JUDGED:
        return GateDecision(
            adaptation=None,
            reason=f"too few tracks: {site.num_judged} have two crops at least {GAP_S:g} s "
            f"apart, {FEWEST_JUDGED} are needed. Let the cameras run for longer.",
            num_tracks=site.num_judged,
            num_together=site.num_together,
        )
    alike, switched = site.alike(), site.switched()
    if problem := unfit(alike, switched):
        return GateDecision(
            adaptation=None, reason=problem, **facts, alike=alike, switched=switched
        )
    halves = site.halves()
    if not all(half.can_judge for half in halves):
        return GateDecision(
            adaptation=None, reason=NO_PAIRS, **facts, alike=alike, switched=switched
        )
    before = _judge(halves, None)
    current, method = before, None
    comparisons: list[Comparison] = []
    for round_ in _rounds(site.num_cameras):
        passed: list[tuple[float, Judged, Method]] = []
        for candidate in round_:
            judged = _judge(halves, candidate)
            comparison = _compare(
                candidate,
                judged,
                current,
                before,
                against=NONE if method is None else method.name,
                rng=rng,
            )
            comparisons.append(comparison)
            if comparison.is_better:
                passed.append((judged.merit(candidate), judged, candidate))
        if passed:
            _, current, method = max(passed, key=lambda one: one[0])
        if method is not None and method.rescales:
            break
    adaptation, held_out = None, None
    reason = "no candidate is better with confidence on tracks that it was not fitted on"
    if method is not None:
        adaptation = fit_adaptation(crops, method, space=space, fitted_on=fitted_on)
        half, later = fit_adaptation(halves[0].crops, method), halves[1].crops
        held_out = replace(later, embeddings=half.apply(later.embeddings, later.cameras))
        reason = (
            f"{method.name}: on tracks not fitted on, {current.recognised.mean():.1%} of true "
            f"pairs are recognised at {before.rate:.1%} false ones, "
            f"{before.recognised.mean():.1%} before"
        )
    return GateDecision(
        adaptation=adaptation,
        reason=reason,
        rate=before.rate,
        recognised_before=float(before.recognised.mean()),
        own_camera_before=before.own_camera_share,
        comparisons=tuple(comparisons),
        held_out=held_out,
        **facts,
        alike=alike,
        switched=switched,
    )


def unfit(alike: float, switched: float) -> str:
    """Why tracks cannot be learned from; "" if they can.

    Args:
        alike: see `GateDecision`.
        switched: see `GateDecision`.
    """
    if alike > _MOST_ALIKE:
        return (
            f"{alike:.0%} of the pairs of different tracks look like one person, more than the "
            f"limit of {_MOST_ALIKE:.0%}: there were too few different people, or the network "
            "cannot distinguish them."
        )
    if switched > _MOST_SWITCHED:
        return (
            f"{switched:.0%} of the tracks look like two people each, more than the limit of "
            f"{_MOST_SWITCHED:.0%}: the tracker confuses people. Such tracks cannot be learned "
            "from."
        )
    return ""


def _rounds(num_cameras: int) -> Sequence[Sequence[Method]]:
    """Candidates of each round, which compete with the winner of the previous round.

    The first rescaling winner ends the search. Deviations come last: on CUHK03 they left more
    camera bias than whitening.
    """
    by_camera = num_cameras > 1
    centring = CENTRINGS[by_camera].name
    return (
        CENTRINGS[: 1 + by_camera],
        (
            Method(name=f"{centring} and half whitening", by_camera=by_camera, whitening=0.5),
            Method(name=f"{centring} and whitening", by_camera=by_camera, whitening=1.0),
        ),
        (Method(name=f"{centring} and deviations", by_camera=by_camera, deviations=True),),
    )


@dataclass(frozen=True, eq=False)
class Judged:
    """Measures of T tracks, (T,) each, including the share of crops with own-camera neighbours."""

    rate: float
    recognised: NDArray[np.float64]
    log_rarity: NDArray[np.float64]
    own_camera: NDArray[np.float64] | None

    @property
    def own_camera_share(self) -> float | None:
        """Mean over the crops; None with one camera."""
        return None if self.own_camera is None else float(self.own_camera.mean())

    def merit(self, candidate: Method) -> float:
        """Figure that ranks the candidates that passed."""
        if candidate.rescales or self.own_camera is None:
            return float(self.recognised.mean())
        return -float(self.own_camera.mean())


def _compare(
    candidate: Method,
    judged: Judged,
    current: Judged,
    before: Judged,
    *,
    against: str,
    rng: np.random.Generator,
) -> Comparison:
    gain = judged.recognised - current.recognised
    log_gain = judged.log_rarity - current.log_rarity
    gain_least, gain_most = bounds(gain, rng)
    log_least, log_most = bounds(log_gain, rng)
    own_least, own_most = 0.0, 0.0
    if judged.own_camera is not None and before.own_camera is not None:
        own_least, own_most = bounds(judged.own_camera - before.own_camera, rng)
    # Centring that lowers the camera bias only has to leave recognition unharmed.
    takes_bias = not candidate.rescales and own_most < 0 and log_most >= 0
    problem = ""
    if own_least > 0:
        problem = "it makes crops of one camera more similar, whoever they show"
    elif gain_most < 0:
        problem = "fewer true pairs recognised"
    elif log_least <= 0 and not takes_bias:
        problem = "no significant gain in the rank of true pairs among false ones"
    elif candidate.rescales and gain_least <= 0:
        problem = "no significant gain in true pairs recognised"
    return Comparison(
        method=candidate.name,
        against=against,
        recognised=float(judged.recognised.mean()),
        gain=float(gain.mean()),
        gain_least=gain_least,
        log_gain=float(log_gain.mean()),
        log_gain_least=log_least,
        own_camera=judged.own_camera_share,
        is_better=not problem,
        reason=problem or "better with confidence",
    )


def bounds(
    values: NDArray[np.float64], rng: np.random.Generator, *, error: float = _ERROR
) -> tuple[float, float]:
    """Lower and upper bound of the mean, each with 99 % confidence, by bootstrap over tracks."""
    drawn = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [error, 1 - error])
    return float(low), float(high)


def _judge(halves: Sequence["Site"], candidate: Method | None) -> Judged:
    """Fit on each half and judge on the other."""
    parts = []
    for fitting, judging in (halves, halves[::-1]):
        adaptation = None if candidate is None else fit_adaptation(fitting.crops, candidate)
        parts.append(judging.judge(adaptation))
    return Judged(
        rate=parts[0].rate,
        recognised=np.concatenate([part.recognised for part in parts]),
        log_rarity=np.concatenate([part.log_rarity for part in parts]),
        own_camera=None
        if any(part.own_camera is None for part in parts)
        else np.concatenate([part.own_camera for part in parts if part.own_camera is not None]),
    )


class Site:
    """Crops of tracks and their true and false pairs.

    Args:
        crops: crops of tracks.
        rate: share of false pairs at which true pairs are counted; by default chosen by their
            number.
    """

    def __init__(self, crops: TrackedCrops, *, rate: float | None = None) -> None:
        self.crops = crops
        self.numbers = crops.track_numbers()
        self.cameras = np.unique(crops.cameras)
        self._rows = [np.flatnonzero(crops.cameras == camera) for camera in self.cameras]
        self._same: list[NDArray[np.bool_]] = []
        others: list[NDArray[np.bool_]] = []
        together: list[NDArray[np.bool_]] = []
        for rows in self._rows:
            same, other, at_once = self._pairs(rows)
            self._same.append(same)
            others.append(other)
            together.append(at_once)
        self.num_together = sum(
            len(np.unique(np.sort(self.numbers[rows][np.argwhere(pairs)], axis=1), axis=0))
            for rows, pairs in zip(self._rows, together, strict=True)
        )
        # A person who returns makes a second track; tracks seen together are different people.
        self._certain = self.num_together >= _ENOUGH_TOGETHER
        self._different = together if self._certain else others
        self.judged = np.unique(
            np.concatenate(
                [
                    self.numbers[rows[same.any(1)]]
                    for rows, same in zip(self._rows, self._same, strict=True)
                ]
                or [np.zeros(0, np.int64)]
            )
        )
        pairs = sum(int(np.count_nonzero(one)) for one in self._different)
        if rate is None:
            rate = 0.001 if pairs >= _PAIRS_FOR_ONE_IN_THOUSAND and not self._certain else 0.01
        self.rate = rate

    @property
    def num_judged(self) -> int:
        """Number of tracks with two crops far enough apart in time."""
        return len(self.judged)

    @property
    def can_judge(self) -> bool:
        """Whether there are true and false pairs."""
        return self.num_judged > 0 and any(pairs.any() for pairs in self._different)

    @property
    def num_cameras(self) -> int:
        """Number of cameras."""
        return len(self.cameras)

    def _pairs(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """(n, n) masks: same track and apart in time; different tracks; tracks seen together."""
        numbers, times = self.numbers[rows], self.crops.time_s
        mine = numbers[:, np.newaxis] == numbers
        same = mine & ~np.eye(len(rows), dtype=bool)
        together = np.zeros_like(same)
        if times is not None:
            at = times[rows]
            same &= np.abs(at[:, np.newaxis] - at) >= GAP_S
            local = np.unique(numbers, return_inverse=True)[1].reshape(-1)
            together = at_once(local, at)[np.ix_(local, local)]
        return same, ~mine, together

    def is_later(self, share: float = 0.5) -> NDArray[np.bool_]:
        """(N,) whether a crop belongs to the latest `share` of its camera's tracks."""
        is_second = np.zeros(len(self.crops), dtype=bool)
        times = self.crops.time_s
        for rows in self._rows:
            numbers = self.numbers[rows]
            order = (
                np.arange(len(rows)) if times is None else np.argsort(times[rows], kind="stable")
            )
            _, first = np.unique(numbers[order], return_index=True)
            ranks = np.argsort(np.argsort(first))
            is_late = ranks >= int(len(first) * (1 - share))
            is_second[rows] = is_late[np.unique(numbers, return_inverse=True)[1].reshape(-1)]
        return is_second

    def halves(self) -> tuple["Site", "Site"]:
        """The earlier and the later half of each camera's tracks, by start time."""
        is_second = self.is_later()
        earlier = Site(self.crops.part(~is_second))
        later = Site(self.crops.part(is_second))
        rate = max(earlier.rate, later.rate)
        return (
            Site(self.crops.part(~is_second), rate=rate),
            Site(self.crops.part(is_second), rate=rate),
        )

    def alike(self) -> float:
        """Share of pairs of different tracks that are at least as similar as 3/4 of true pairs."""
        same, different = self._scores(self.crops.embeddings)
        if len(same) == 0 or len(different) == 0:
            return 1.0
        return float(np.mean(different >= np.quantile(same, 0.25)))

    def _scores(
        self, embeddings: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        same, different = [], []
        for rows, mine, other in zip(self._rows, self._same, self._different, strict=True):
            scores = embeddings[rows] @ embeddings[rows].T
            same.append(scores[mine])
            different.append(scores[other])
        return np.concatenate(same), np.concatenate(different)

    def switched(self) -> float:
        """Share of tracks that look like two people in succession."""
        embeddings = unit_length(self.crops.embeddings - self.crops.embeddings.mean(axis=0))
        _, different = self._scores(embeddings)
        middle = float(np.median(different)) if len(different) else 0.0
        times = self.crops.time_s
        worst = []
        for number in self.judged:
            rows = np.flatnonzero(self.numbers == number)
            if times is not None:
                rows = rows[np.argsort(times[rows], kind="stable")]
            scores = embeddings[rows] @ embeddings[rows].T
            worst.append(min(scores[:cut, cut:].mean() for cut in range(1, len(rows))))
        # Half of the pairs of two people score above the median.
        return min(1.0, 2 * float(np.mean(np.array(worst) < middle)))

    def judge(
        self, adaptation: Adaptation | None, *, stored: NDArray[np.float32] | None = None
    ) -> Judged:
        """Recognition and camera bias of an adaptation that was fitted on other tracks.

        Args:
            adaptation: None for unchanged embeddings.
            stored: (N, D) embeddings of these crops by another network of the same space, which
                are searched instead of their own.

        Raises:
            TracksError: there are no true or no false pairs.
        """
        if not self.can_judge:
            raise TracksError(NO_PAIRS)
        crops = self.crops
        adapted = (
            crops.embeddings
            if adaptation is None
            else adaptation.apply(crops.embeddings, crops.cameras)
        )
        carried = self._carried()
        queries = carried[0] if adaptation is None else adaptation.apply(*carried)
        searched = adapted if stored is None else stored
        true, owners, false = [], [], []
        for rows, same, different in zip(self._rows, self._same, self._different, strict=True):
            scores = queries[rows] @ searched[rows].T
            true.append(scores[same])
            owners.append(self.numbers[rows][np.nonzero(same)[0]])
            false.append(scores[different])
        scores_of_true, ordered = np.concatenate(true), np.sort(np.concatenate(false))
        above = len(ordered) - np.searchsorted(ordered, scores_of_true, side="left")
        rarity = -np.log10((above + 1) / (len(ordered) + 1))
        threshold = np.quantile(ordered, 1 - self.rate)
        owner = np.searchsorted(self.judged, np.concatenate(owners))
        return Judged(
            rate=self.rate,
            recognised=by_track(scores_of_true > threshold, owner, self.num_judged),
            log_rarity=by_track(rarity, owner, self.num_judged),
            own_camera=self._own_camera(adapted),
        )

    def _carried(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Each crop moved to another camera, and that camera (taken in turns)."""
        crops = self.crops
        fit = fit_adaptation(crops, CENTRINGS[1])
        rows, cameras = crops.embeddings.copy(), crops.cameras.copy()
        if len(fit.cameras) < 2:
            return rows, cameras
        for at, camera in enumerate(fit.cameras):
            mine = np.flatnonzero(crops.cameras == camera)
            steps = 1 + self.numbers[mine] % (len(fit.cameras) - 1)
            to = (at + steps) % len(fit.cameras)
            rows[mine] += fit.means[to] - fit.means[at]
            cameras[mine] = fit.cameras[to]
        return unit_length(rows), cameras

    def _own_camera(self, adapted: NDArray[np.float32]) -> NDArray[np.float64] | None:
        if self.num_cameras < 2:
            return None
        owns = np.zeros(len(adapted))
        for rows in self._rows:
            scores = adapted[rows] @ adapted.T
            scores[self.numbers[rows][:, np.newaxis] == self.numbers] = -np.inf
            owns[rows] = self.crops.cameras[scores.argmax(axis=1)] == self.crops.cameras[rows]
        return by_track(owns, self.numbers, self.numbers.max() + 1)


def by_track(
    values: NDArray[np.floating | np.bool_], owners: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """(count,) mean value of each track."""
    means: NDArray[np.float64] = np.bincount(
        owners, values.astype(np.float64), minlength=count
    ) / np.maximum(1, np.bincount(owners, minlength=count))
    return means


def thinned(crops: TrackedCrops, rng: np.random.Generator) -> TrackedCrops:
    """Limit the tracks per camera and the crops per track, which are spread over its duration."""
    numbers = crops.track_numbers()
    times = np.arange(len(crops)) if crops.time_s is None else crops.time_s
    kept: list[NDArray[np.int64]] = []
    for camera in np.unique(crops.cameras):
        tracks = np.unique(numbers[crops.cameras == camera])
        if len(tracks) > _MOST_TRACKS_OF_A_CAMERA:
            tracks = np.sort(rng.choice(tracks, _MOST_TRACKS_OF_A_CAMERA, replace=False))
        for track in tracks:
            rows = np.flatnonzero(numbers == track)
            rows = rows[np.argsort(times[rows], kind="stable")]
            at = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_CROPS_OF_A_TRACK))
            kept.append(rows[np.rint(at).astype(np.int64)])
    chosen = np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)
    return crops.part(chosen)
