"""The bridge from the network in use to a site's new one; see `adln.matching.bridge`.

Galleries keep no pictures by default, but both networks have embedded the site's crops anyway.
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
from adln.site.clusters import MOST_TRACKS, cluster_tracks, seen_together, sums_by_label

_FALSE_PAIRS = 0.001  # rate of false pairs at which true pairs are counted
_ERROR = 0.005  # of the bootstrap over persons


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
    """Fit a bridge to the training tracks, and evaluate it on the others.

    If it helps, it is fitted again to all tracks and written beside the new network, which need not
    exist yet. `old` and `new` are the same crops, embedded by the network in use and by the new
    one, of which `is_judging` (N,) belong to the evaluation tracks. `source` and `target` are their
    exits by `adln.matching.bridge.exit_name`, `space` is that of both.

    Returns:
        Path and gain of the bridge, or why there is none.
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
    said = f"true pairs recognised among stored embeddings: {as_is:.1%} without, {over:.1%} with it"
    if not is_better and over >= as_is:
        is_better = _links_gain(before, carried, after)
    if not is_better:
        return f"none: no significant gain ({said})"
    bridge = fit(np.ones(len(old), np.bool_))
    return f"{write_bridge(bridge, network)}: {said}; fitted on {bridge.fitted_on}"


def _links_gain(stored: TrackedCrops, carried: TrackedCrops, asked: TrackedCrops) -> bool:
    """Whether tracks of one person (cluster) are found significantly more often over the bridge.

    Crops of one track are nearly all found anyway; it is for people who reappear elsewhere.
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
    """(T,) person of each track by clustering; without clustering, one person per track."""
    numbers = crops.track_numbers()
    count = int(numbers.max()) + 1
    if count > MOST_TRACKS or importlib.util.find_spec("sklearn") is None:
        return np.arange(count)
    sums = sums_by_label(crops.embeddings, numbers)
    cameras = np.zeros(count, np.int64)
    cameras[numbers] = crops.cameras
    apart = seen_together(crops.cameras, numbers, crops.time_s)
    return cluster_tracks(unit_length(sums), cameras, apart)
