"""The bridge from the network in use to the new one of a site; see `adln.matching.bridge`.

Both networks have embedded the crops of the site anyway, and galleries keep no pictures by default.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.matching.adaptation import TrackedCrops
from adln.matching.adaptation_gate import FEWEST_JUDGED, bounds, by_track
from adln.matching.bridge import Bridge, fit_bridge, write_bridge
from adln.matching.network_gate import compare_stored, thinned_rows
from adln.site.clusters import cluster_tracks, seen_together

_FALSE_PAIRS = 0.001  # are taken for one person where true ones are counted
_ERROR = 0.005  # of the bootstrap over persons
_MOST_TRACKS = 5000  # whose likeness in pairs takes 1 GB for a while


def write_if_better(
    network: Path,
    old: TrackedCrops,
    new: TrackedCrops,
    is_judging: NDArray[np.bool_],
    *,
    source: str,
    target: str,
    space: str,
) -> str:
    """Fit a bridge to the tracks that were learned from, and judge it by the others.

    If it helps, it is fitted to all tracks once more, and written beside the new network.

    Args:
        network: file of the new network; it need not exist.
        old: crops as the network in use embeds them.
        new: the same crops as the new network embeds them, in the same order.
        is_judging: (N,) whether a crop is of the tracks that judge.
        source: exit of the network in use, by `adln.matching.bridge.exit_name`.
        target: exit of the new one.
        space: of both.

    Returns:
        Where it is and how much it gains, or why there is none.
    """

    def fit(rows: NDArray[np.bool_]) -> Bridge:
        mine, theirs = old.part(rows), new.part(rows)
        numbers = theirs.track_numbers()
        return fit_bridge(
            mine.embeddings,
            theirs.embeddings,
            _persons(theirs)[numbers],
            numbers,
            source=source,
            target=target,
            space=space,
            fitted_on=f"{len(mine):,} crops of {numbers.max() + 1:,} tracks",
        )

    trial = fit(~is_judging)
    before, after = old.part(is_judging), new.part(is_judging)
    carried = replace(before, embeddings=trial.apply(before.embeddings))
    as_is, over, is_better = compare_stored(before, carried, after)
    said = f"{as_is:.1%} of true pairs recognised among stored embeddings, {over:.1%} over it"
    if not is_better and over >= as_is:
        is_better = _links_gain(before, carried, after)
    if not is_better:
        return f"none: no gain that is certain ({said})"
    bridge = fit(np.ones(len(old), np.bool_))
    return f"{write_bridge(bridge, network)}: {said}; fitted on {bridge.fitted_on}"


def _links_gain(stored: TrackedCrops, carried: TrackedCrops, asked: TrackedCrops) -> bool:
    """Whether tracks that seem to be one person find each other better, with confidence.

    Crops of one track are nearly all found, with a bridge and without; it is for those who come
    back under another camera. Who they are is told by clusters of the new network's embeddings,
    which the gate has let in before.
    """
    rows = thinned_rows(asked, seed=0)
    asked = asked.part(rows)
    numbers = asked.track_numbers()
    persons = _persons(asked)[numbers]
    alike = persons[:, np.newaxis] == persons
    linked = alike & (numbers[:, np.newaxis] != numbers)
    known, owners = np.unique(persons[np.nonzero(linked)[0]], return_inverse=True)
    if len(known) < FEWEST_JUDGED:
        return False
    found = []
    for searched in (stored, carried):
        scores = asked.embeddings @ searched.embeddings[rows].T
        is_found = scores[linked] > np.quantile(scores[~alike], 1 - _FALSE_PAIRS)
        found.append(by_track(is_found, owners, len(known)))
    least, _ = bounds(found[1] - found[0], np.random.default_rng(0), error=_ERROR)
    return least > 0


def _persons(crops: TrackedCrops) -> NDArray[np.int64]:
    """(T,) who is seen in each track, as far as clusters tell; else each track is somebody."""
    numbers = crops.track_numbers()
    count = int(numbers.max()) + 1
    if count > _MOST_TRACKS or importlib.util.find_spec("sklearn") is None:
        return np.arange(count)
    sums = np.zeros((count, crops.embeddings.shape[1]), np.float32)
    np.add.at(sums, numbers, crops.embeddings)
    cameras = np.zeros(count, np.int64)
    cameras[numbers] = crops.cameras
    apart = seen_together(crops.cameras, numbers, crops.time_s)
    return cluster_tracks(unit_length(sums), cameras, apart)
