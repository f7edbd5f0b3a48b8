"""Groups unassigned sightings into identities, for a person to check.

Sightings of one track are one unit, with their mean embedding. Units are merged while their mean
cosine reaches a threshold (agglomerative clustering with average linkage, by scikit-learn). Two
units that one camera saw in the same frame, as tracks or boxes, are two persons and never end up in
one group, not even indirectly.

Needs the extra ``cluster`` (scikit-learn).
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError, require_package
from adln.gallery.records import StoredSighting, pool_track
from adln.gallery.spaces import group_by_space
from adln.matching.together import in_one_frame

# The distances of all pairs of this many units temporarily take 0.8 GB.
MOST_UNITS = 8000


@dataclass(frozen=True, kw_only=True)
class Group:
    """Sightings that seem to show one person.

    Attributes:
        sighting_ids: Sightings of the group, best quality first.
        tracks: Number of units: tracks, and sightings without a track.
        cameras: Cameras that saw them, ascending.
        first_seen_s: Time of the oldest.
        last_seen_s: Time of the newest.
        likeness: Mean cosine between the units; 1 for a single one.
    """

    sighting_ids: tuple[int, ...]
    tracks: int
    cameras: tuple[int, ...]
    first_seen_s: float
    last_seen_s: float
    likeness: float


def group_sightings(sightings: Sequence[StoredSighting], *, threshold: float) -> list[Group]:
    """Group sightings by similarity.

    Args:
        sightings: Of one space, or of one network at one depth; those of an adapted gallery as it
            compares them (`adln.gallery.adapting.as_compared`).
        threshold: Lowest mean cosine of units that are merged, -1 < threshold < 1.

    Returns:
        Groups, largest first; every sighting is in exactly one.

    Raises:
        GalleryError: scikit-learn is not installed, the sightings are of several spaces,
            there are too many, or the threshold is out of range.
    """
    if not -1 < threshold < 1:
        raise GalleryError(f"The threshold is a cosine between -1 and 1, got {threshold}.")
    spaces = group_by_space(sighting.model for sighting in sightings)
    if len(spaces) > 1:
        raise GalleryError(
            "Only sightings of one space can be grouped, these are of: "
            + "; ".join(sorted(str(models[0]) for models in spaces))
            + "."
        )
    units = _units(sightings)
    if len(units) > MOST_UNITS:
        raise GalleryError(
            f"{len(units):,} tracks are too many to group at a time; at most {MOST_UNITS:,}. "
            "Restrict the time or the cameras."
        )
    if not units:
        return []
    embeddings = np.stack(
        [pool_track(np.stack([sightings[at].embedding for at in unit])) for unit in units]
    )
    cosines = np.clip(embeddings.astype(np.float64) @ embeddings.T, -1, 1)
    labels = join_alike(cosines, _seen_together(sightings, units), threshold)
    groups = []
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        looks = [sightings[at] for unit in members for at in units[unit]]
        between = cosines[np.ix_(members, members)][np.triu_indices(len(members), 1)]
        best_first = sorted(looks, key=lambda look: (-look.quality, look.sighting_id))
        groups.append(
            Group(
                sighting_ids=tuple(look.sighting_id for look in best_first),
                tracks=len(members),
                cameras=tuple(sorted({look.camera_id for look in looks})),
                first_seen_s=min(look.time_s for look in looks),
                last_seen_s=max(look.time_s for look in looks),
                likeness=float(between.mean()) if len(between) else 1.0,
            )
        )
    return sorted(groups, key=lambda g: (-len(g.sighting_ids), g.first_seen_s, g.sighting_ids))


def _units(sightings: Sequence[StoredSighting]) -> list[list[int]]:
    """Indices of the sightings of each track; a sighting without a track is its own unit."""
    units: dict[tuple[int, ...], list[int]] = {}
    for at, sighting in enumerate(sightings):
        alone = sighting.track_id is None
        key = (-1, at) if alone else (sighting.camera_id, sighting.track_id or 0)
        units.setdefault(key, []).append(at)
    return list(units.values())


def _seen_together(
    sightings: Sequence[StoredSighting], units: Sequence[Sequence[int]]
) -> set[tuple[int, int]]:
    """Pairs of units that one camera saw in one frame.

    Pictures that were enrolled have neither track nor box, and are of no frame: those enrolled
    together have one time, and may show one person.
    """
    return in_one_frame(
        (sightings[at].camera_id, sightings[at].time_s, unit)
        for unit, members in enumerate(units)
        for at in members
        if sightings[at].track_id is not None or sightings[at].box_xyxy is not None
    )


def join_alike(
    likeness: NDArray[np.float64], apart: Set[tuple[int, int]], threshold: float
) -> NDArray[np.int64]:
    """Merge units while their mean similarity reaches a threshold.

    Args:
        likeness: (N, N) similarities, -1 to 1.
        apart: pairs that must not end up in one group, in both orders.
        threshold: lowest mean similarity of units that are merged, -1 < threshold < 1.

    Returns:
        (N,) groups, 0..K-1.

    Raises:
        GalleryError: scikit-learn is not installed.
    """
    if len(likeness) == 1:
        return np.zeros(1, np.int64)
    cluster = require_package(
        "sklearn.cluster", extra="cluster", purpose="grouping", raises=GalleryError
    )
    distances = 1 - likeness
    np.fill_diagonal(distances, 0)
    # Two groups of a and b units have at most n^2 / 4 pairs: with one pair at this distance, their
    # mean is at least 8, beyond every threshold.
    far = 2.0 * len(likeness) ** 2
    for one, other in apart:
        distances[one, other] = far
    model = cluster.AgglomerativeClustering(
        n_clusters=None,
        metric="precomputed",
        linkage="average",
        # scikit-learn merges strictly below the threshold; the next larger number includes it.
        distance_threshold=float(np.nextafter(1 - threshold, 2)),
    )
    labels: NDArray[np.int64] = model.fit(distances).labels_.astype(np.int64)
    return labels
