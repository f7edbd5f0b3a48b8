"""Embeds the new crops of all cameras in one batch, each crop once per depth."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from adln.cameras.selection import SelectedCrop, TrackReport
from adln.embeddings import require_direction
from adln.pipeline.depths import DepthEmbedder
from adln.pipeline.watch_parts import OpenTrack

Tracks = Mapping[tuple[str, int], OpenTrack]
Tried = tuple[str, int, Exception | None]
"""Camera of a crop, the depth at which it was embedded, and why that failed."""
_New = tuple[OpenTrack, str, SelectedCrop]


def embed_crops(
    embedder: DepthEmbedder,
    reports: Sequence[TrackReport],
    tracks: Tracks,
    *,
    first: int,
    depth: int,
    is_sure: Callable[[TrackReport], bool],
) -> list[Tried]:
    """Embed the crops of reports that are not embedded yet, and update their tracks.

    Every crop is embedded at the depth `first`. If another one is requested, crops of tracks of
    which that is not sure are embedded again at it.
    """
    pairs = [(tracks[report.camera_id, report.track_id], report) for report in reports]
    new = [
        (track, report.camera_id, crop)
        for track, report in pairs
        for crop in report.crops
        if crop.crop_id not in track.embeddings
    ]
    tried = _try(embedder, new, first)
    if first == depth:
        return tried
    for track, report in pairs:
        # Once uncertain, a track stays at the deeper depth: all its embeddings share one depth.
        track.is_deep = track.is_deep or not is_sure(report)
    deeper = [
        (track, report.camera_id, crop)
        for track, report in pairs
        for crop in report.crops
        if track.is_deep and depth not in track.embeddings.get(crop.crop_id, {depth: None})
    ]
    return tried + _try(embedder, deeper, depth)


def _try(embedder: DepthEmbedder, crops: Sequence[_New], depth: int) -> list[Tried]:
    if not crops:
        return []
    try:
        _embed(embedder, crops, depth)
    except Exception as error:
        if len(crops) == 1:
            return [(crops[0][1], depth, error)]
        # One by one, so that an unusable crop affects its own track only.
        return [tried for one in crops for tried in _try(embedder, [one], depth)]
    return [(camera, depth, None) for _, camera, _ in crops]


def _embed(embedder: DepthEmbedder, crops: Sequence[_New], depth: int) -> None:
    answers = embedder.embed(np.stack([crop.image for _, _, crop in crops]), depth)
    for rows in answers.values():
        require_direction(rows, what="a crop")
    for at, (track, _, crop) in enumerate(crops):
        found = {depth_: rows[at] for depth_, rows in answers.items()}
        track.embeddings[crop.crop_id] = track.embeddings.get(crop.crop_id, {}) | found
