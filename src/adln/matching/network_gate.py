"""The gate for a new network: does it recognise the people of a site better than the current one?

Both networks embed the same crops of tracks that the new one was not trained on. They are judged
as in `adln.matching.adaptation_gate`: each crop should find the others of its track among those of
other people, where two tracks that a camera sees at the same time are two people.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.errors import SettingsError, TracksError
from adln.matching.adaptation import TrackedCrops
from adln.matching.adaptation_gate import (
    FEWEST_JUDGED,
    GAP_S,
    NO_PAIRS,
    Site,
    bounds,
    thinned,
    unfit,
)

_JUDGING_SHARE = 0.25
_ERROR_OF_EACH = 0.005  # either of two measures may be the significant one: 99 % together
_TRACKS_TO_JUDGE = 200  # held out from training; if there are few tracks, half of them


@dataclass(frozen=True, eq=False, kw_only=True)
class NetworkComparison:
    """A new network compared with the current one, on tracks it was not trained on.

    Attributes:
        is_better: whether it may replace the current one.
        reason: why or why not.
        rate: share of false pairs at which true pairs are counted.
        recognised_before: share of true pairs above the score that `rate` of false pairs reach,
            with the current network.
        recognised: the same with the new network.
        gain: difference of the two.
        gain_least: lower bound of the gain, with 99.5 % confidence.
        log_gain: decrease of the logarithm of the share of false pairs that score as high as a
            true pair.
        log_gain_least: its lower bound. This or `gain_least` is above 0 for a network that passes.
        own_camera_before: share of crops whose nearest neighbour is from their own camera; None
            with one camera.
        own_camera: the same with the new network.
        recognised_stored: share of true pairs recognised when the new network searches embeddings
            of the current one; None if they do not share a space.
        num_tracks: number of tracks judged on.
        num_together: pairs of tracks seen at the same time.
        track_gains: (T,) `log_gain` of each track.
        track_rows: for each of these tracks, the indices of its crops.
    """

    is_better: bool
    reason: str
    rate: float
    recognised_before: float
    recognised: float
    gain: float
    gain_least: float
    log_gain: float
    log_gain_least: float
    own_camera_before: float | None
    own_camera: float | None
    recognised_stored: float | None
    num_tracks: int
    num_together: int
    track_gains: NDArray[np.float64]
    track_rows: tuple[NDArray[np.int64], ...]


def require_learnable(crops: TrackedCrops, *, seed: int = 0) -> NDArray[np.bool_]:
    """Check the tracks of a site before training on them, and split off those for judging.

    Args:
        crops: crops embedded by the teacher, which distinguishes people better than the current
            network; without a teacher, by the current network.
        seed: for the choice of tracks.

    Returns:
        (N,) whether a crop is for judging: the latest tracks of each camera, a quarter of them, or
        if there are few, up to half.

    Raises:
        TracksError: there are too few tracks or people, or tracks contain several people.
    """
    num_tracks = len(np.unique(crops.track_numbers()))
    if num_tracks < 2:
        raise TracksError(_too_few(num_tracks, "in all"))
    whole = Site(crops)
    share = min(0.5, max(_JUDGING_SHARE, _TRACKS_TO_JUDGE / max(1, whole.num_judged)))
    is_later = whole.is_later(share)
    judging = Site(crops.part(is_later))
    if judging.num_judged < FEWEST_JUDGED:
        raise TracksError(_too_few(judging.num_judged, "in the half for judging"))
    if not judging.can_judge:
        raise TracksError(NO_PAIRS)
    rng = np.random.default_rng(seed)
    site = Site(thinned(crops, rng))
    problem = unfit(site.alike(), site.switched())
    if problem:
        raise TracksError(problem)
    return is_later


def compare_networks(
    before: TrackedCrops, after: TrackedCrops, *, same_space: bool, seed: int = 0
) -> NetworkComparison:
    """Judge a new network on tracks that it was not trained on.

    Args:
        before: crops embedded by the current network.
        after: the same crops in the same order, embedded by the new network.
        same_space: whether the new network will search embeddings of the current one.
        seed: for the choice of tracks and the bootstrap.

    Raises:
        SettingsError: these are not the same crops.
        TracksError: no track, or no two of one camera, can be judged.
    """
    if len(before) != len(after) or not np.array_equal(before.tracks, after.tracks):
        raise SettingsError("Both networks must embed the same crops in the same order.")
    positions = thinned_rows(before, seed)
    old, new = Site(before.part(positions)), Site(after.part(positions))
    was, now = old.judge(None), new.judge(None)
    rng = np.random.default_rng(seed)
    gains, log_gains = now.recognised - was.recognised, now.log_rarity - was.log_rarity
    gain_least, _ = bounds(gains, rng, error=_ERROR_OF_EACH)
    log_least, log_most = bounds(log_gains, rng, error=_ERROR_OF_EACH)
    gain = float(gains.mean())
    across, loses_stored = None, False
    if same_space:
        across = new.judge(None, stored=old.crops.embeddings)
        missed = across.recognised - was.recognised
        certain = min(
            bounds(missed, rng, error=_ERROR_OF_EACH)[1],
            bounds(across.log_rarity - was.log_rarity, rng, error=_ERROR_OF_EACH)[1],
        )
        # The logarithm alone would penalise any change: two crops embedded by one network share
        # features that only this network has.
        loses_stored = bool(missed.mean() < 0 and certain < 0)
    problem = ""
    # If nearly all pairs are already found, the logarithm is at its minimum before and after, and
    # only the share of pairs shows a gain.
    is_certain = log_least > 0 or (gain_least > 0 and log_most >= 0)
    if gain < 0:
        problem = "it recognises fewer true pairs than the current network"
    elif not is_certain:
        problem = "no significant gain over the current network"
    elif loses_stored:
        problem = (
            "it finds people less well among the stored embeddings of the current network; train "
            "it for longer, or let it have its own space and gallery (--new-space)"
        )
    return NetworkComparison(
        is_better=not problem,
        reason=problem or "significantly better on tracks that it was not trained on",
        rate=was.rate,
        recognised_before=float(was.recognised.mean()),
        recognised=float(now.recognised.mean()),
        gain=gain,
        gain_least=gain_least,
        log_gain=float(log_gains.mean()),
        log_gain_least=log_least,
        own_camera_before=was.own_camera_share,
        own_camera=now.own_camera_share,
        recognised_stored=None if across is None else float(across.recognised.mean()),
        num_tracks=old.num_judged,
        num_together=old.num_together,
        track_gains=log_gains,
        track_rows=tuple(positions[old.numbers == number] for number in old.judged),
    )


def compare_stored(
    stored: TrackedCrops, carried: TrackedCrops, asked: TrackedCrops, *, seed: int = 0
) -> tuple[float, float, bool]:
    """Whether a new network finds people better in bridged than in stored embeddings.

    Args:
        stored: crops embedded by the current network.
        carried: these embeddings mapped by a bridge to the new network.
        asked: the same crops embedded by the new network.
        seed: for the choice of tracks and the bootstrap.

    Returns:
        Share of true pairs recognised in the stored embeddings; in the bridged ones; and whether
        the latter is no lower and false pairs score as high as true ones less often, with 99.5 %
        confidence.
    """
    positions = thinned_rows(stored, seed)
    site = Site(asked.part(positions))
    was = site.judge(None, stored=stored.embeddings[positions])
    now = site.judge(None, stored=carried.embeddings[positions])
    rng = np.random.default_rng(seed)
    least, _ = bounds(now.log_rarity - was.log_rarity, rng, error=_ERROR_OF_EACH)
    as_is, over = float(was.recognised.mean()), float(now.recognised.mean())
    return as_is, over, bool(over >= as_is and least > 0)


def thinned_rows(crops: TrackedCrops, seed: int) -> NDArray[np.int64]:
    """Indices of the crops to judge on, limited if there are many."""
    rows = np.arange(len(crops))[:, np.newaxis].astype(np.float32)
    numbered = TrackedCrops(rows, crops.cameras, crops.tracks, crops.time_s)
    chosen = thinned(numbered, np.random.default_rng(seed)).embeddings[:, 0]
    return chosen.astype(np.int64)


def _too_few(count: int, where: str) -> str:
    return (
        f"too few tracks: {count} {where} have two crops at least {GAP_S:g} s apart, "
        f"{FEWEST_JUDGED} are needed there, twice as many in all. Let the cameras run for longer."
    )
