"""Embeds the new crops of all cameras in one batch, each crop once per depth."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from adln.cameras.selection import SelectedCrop, TrackReport
from adln.embeddings import require_direction
from adln.pipeline.depths import DepthEmbedder
from adln.pipeline.watch_parts import OpenTrack

Tracks = Mapping[tuple[str, int], OpenTrack]
_New = tuple[OpenTrack, str, SelectedCrop]


@dataclass(eq=False)
class CropEmbedder:
    """Embeds the new crops of tracks.

    Args:
        embedder: the network.
        first: depth at which every crop is embedded. Crops of tracks that are still uncertain are
            embedded again at the requested depth. None uses the requested depth at once.
        is_sure: whether a track's evidence is enough; called only if `first` is given.
        failed: called with the camera's name and the error for a crop that cannot be used.
        embedded: called with the camera and depth of each crop.
    """

    embedder: DepthEmbedder
    _: KW_ONLY
    first: int | None
    is_sure: Callable[[TrackReport], bool]
    failed: Callable[[str, Exception], object]
    embedded: Callable[[str, int], object]

    def embed(self, reports: Sequence[TrackReport], tracks: Tracks, depth: int) -> Counter[int]:
        """Embed the crops of reports that are not embedded yet, and update their tracks.

        Args:
            reports: reports of tracks.
            tracks: camera and track -> state of the track.
            depth: the deepest depth to use.

        Returns:
            Depth -> number of crops embedded at it.
        """
        first = depth if self.first is None else min(self.first, depth)
        new: list[_New] = []
        for report in reports:
            track = tracks[report.camera_id, report.track_id]
            new += [
                (track, report.camera_id, crop)
                for crop in report.crops
                if crop.crop_id not in track.embeddings
            ]
        done = self._work(new, first)
        if first == depth:
            return done
        deeper: list[_New] = []
        for report in reports:
            track = tracks[report.camera_id, report.track_id]
            # Once uncertain, a track stays at the deeper depth: all its embeddings share one depth.
            track.is_deep = track.is_deep or not self.is_sure(report)
            if track.is_deep:
                deeper += [
                    (track, report.camera_id, crop)
                    for crop in report.crops
                    if depth not in track.embeddings.get(crop.crop_id, {depth: None})
                ]
        return done + self._work(deeper, depth)

    def _work(self, crops: Sequence[_New], depth: int) -> Counter[int]:
        if crops:
            try:
                self._embed(crops, depth)
            except Exception:
                # One by one, so that an unusable crop affects its own track only.
                for one in crops:
                    try:
                        self._embed([one], depth)
                    except Exception as error:
                        self.failed(one[1], error)
        return Counter({depth: len(crops)})

    def _embed(self, crops: Sequence[_New], depth: int) -> None:
        answers = self.embedder.embed(np.stack([crop.image for _, _, crop in crops]), depth)
        for rows in answers.values():
            require_direction(rows, what="a crop")
        for at, (track, name, crop) in enumerate(crops):
            found = {depth_: rows[at] for depth_, rows in answers.items()}
            track.embeddings[crop.crop_id] = track.embeddings.get(crop.crop_id, {}) | found
            self.embedded(name, depth)
