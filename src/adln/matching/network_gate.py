"""The gate for a new network: whether it knows the people of a site better than the one in use.

Both networks embed the same crops of tracks that the new one did not learn from. They are judged
as `adln.matching.adaptation_gate` judges: by whether a crop finds the others of its track among
those of other people, where two tracks that a camera saw at the same time are two people.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.errors import SettingsError, TracksError
from adln.matching.adaptation import TrackedCrops
from adln.matching.adaptation_gate import FEWEST_JUDGED, GAP_S, Site, bounds, thinned, unfit

_JUDGING_SHARE = 0.25
_ERROR_OF_EACH = 0.005  # either of two counts may be the certain one: 99 % together
_TRACKS_TO_JUDGE = 200  # what judges is not learned from; where there are few, half of them judge


@dataclass(frozen=True, eq=False, kw_only=True)
class NetworkComparison:
    """A new network against the one in use, on tracks that it did not learn from.

    Attributes:
        is_better: whether it may take its place.
        reason: why, or why not.
        rate: share of false pairs at which true ones are counted.
        recognised_before: share of true pairs above the score that so many false pairs reach, with
            the network in use.
        recognised: with the new one.
        gain: difference of the two.
        gain_least: the gain is at least this, with a confidence of 99.5 %.
        log_gain: by how much lower the logarithm of the share of false pairs is that score as high
            as a true pair.
        log_gain_least: likewise at least. It or `gain_least` is above 0 for a network that passes.
        own_camera_before: share of crops whose nearest neighbour is of their own camera; None with
            one camera.
        own_camera: with the new network.
        recognised_stored: share of true pairs recognised where the new network searches what the
            one in use has stored; None if they do not share a space.
        num_tracks: tracks that were judged by.
        num_together: pairs of tracks seen at the same time.
        track_gains: (T,) `log_gain` of each track.
        track_rows: for each of these tracks, the positions of its crops.
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
    """Look at the tracks of a site before anything is learned from them, and part them.

    Args:
        crops: as the teacher embeds them, which tells people apart better than the network that
            is in use; as that one does where there is no teacher.
        seed: of the choice of tracks.

    Returns:
        (N,) whether a crop is of the part that judges: the later tracks of each camera, a quarter
        of them, or more where there are few: at most half.

    Raises:
        TracksError: there are too few tracks or people, or the tracks switch persons.
    """
    num_tracks = len(np.unique(crops.track_numbers()))
    if num_tracks < 2:
        raise TracksError(_too_few(num_tracks, "in all"))
    whole = Site(crops)
    share = min(0.5, max(_JUDGING_SHARE, _TRACKS_TO_JUDGE / max(1, whole.num_judged)))
    is_later = whole.is_later(share)
    judging = Site(crops.part(is_later))
    if judging.num_judged < FEWEST_JUDGED:
        raise TracksError(_too_few(judging.num_judged, "in the half of the tracks that judges"))
    rng = np.random.default_rng(seed)
    site = Site(thinned(crops, rng))
    problem = unfit(site.alike(), site.switched())
    if problem:
        raise TracksError(problem)
    return is_later


def compare_networks(
    before: TrackedCrops, after: TrackedCrops, *, same_space: bool, seed: int = 0
) -> NetworkComparison:
    """Judge a new network by tracks that it did not learn from.

    Args:
        before: crops as the network in use embeds them.
        after: the same crops as the new network embeds them, in the same order.
        same_space: whether the new network is to search what the one in use has stored.
        seed: of the choice of tracks and of the bootstrap.

    Raises:
        SettingsError: these are not the same crops.
    """
    if len(before) != len(after) or not np.array_equal(before.tracks, after.tracks):
        raise SettingsError("Two networks are compared on the same crops in the same order.")
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
        # The logarithm alone counts against every change: two crops that one network has embedded
        # share what only that network sees.
        loses_stored = bool(missed.mean() < 0 and certain < 0)
    problem = ""
    # Where nearly all pairs are found already, the logarithm is at its floor before and after, and
    # only the few pairs that are found anew tell.
    is_certain = log_least > 0 or (gain_least > 0 and log_most >= 0)
    if gain < 0:
        problem = "it recognises fewer true pairs than the network in use"
    elif not is_certain:
        problem = "no gain over the network in use that is certain"
    elif loses_stored:
        problem = (
            "it finds people less well among the embeddings that the network in use has stored; "
            "let it learn for longer, or allow it a space and a gallery of its own (--new-space)"
        )
    return NetworkComparison(
        is_better=not problem,
        reason=problem or "better with confidence on tracks that it did not learn from",
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
    """Whether a new network finds people better where stored embeddings are carried to it.

    Args:
        stored: crops as the network in use embeds them.
        carried: these embeddings, changed to be like those of the new network.
        asked: the same crops as the new network embeds them.
        seed: of the choice of tracks and of the bootstrap.

    Returns:
        Share of true pairs recognised among the stored; among the carried; and whether no fewer are
        recognised there and false pairs score as high as true ones less often, with a confidence
        of 99.5 %.
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
    """Positions of those crops that judge, where there are many."""
    rows = np.arange(len(crops))[:, np.newaxis].astype(np.float32)
    numbered = TrackedCrops(rows, crops.cameras, crops.tracks, crops.time_s)
    chosen = thinned(numbered, np.random.default_rng(seed)).embeddings[:, 0]
    return chosen.astype(np.int64)


def _too_few(count: int, where: str) -> str:
    return (
        f"too few tracks: {count} {where} have two crops at least {GAP_S:g} s apart, "
        f"{FEWEST_JUDGED} are needed there, twice as many in all. Let the cameras run for longer."
    )
