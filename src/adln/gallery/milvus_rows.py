"""Converts sightings and filters to and from the form of a Milvus server."""

import base64
import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.records import NO_PERSON, Filter, ModelKey, SearchResult, Sighting

MOST_TEXT = 65_535
"""Largest size of a text field, in bytes."""
NO_TRACK = -1
"""Value for sightings without a track."""


def row_of(sighting: Sighting, embedding: NDArray[np.float32]) -> dict[str, Any]:
    """A sighting as a row of the server, without nulls."""
    thumbnail = base64.b64encode(sighting.thumbnail or b"").decode()
    if len(thumbnail) > MOST_TEXT:
        raise GalleryError(
            f"A picture of {len(sighting.thumbnail or b''):,} bytes is too large for a server; the "
            f"limit is {MOST_TEXT * 3 // 4:,}. Store a smaller thumbnail, or none."
        )
    return {
        "depth": sighting.model.depth,
        "person_id": NO_PERSON if sighting.person_id is None else int(sighting.person_id),
        "camera_id": int(sighting.camera_id),
        "time_s": float(sighting.time_s),
        "track_id": NO_TRACK if sighting.track_id is None else int(sighting.track_id),
        "box_xyxy": "" if sighting.box_xyxy is None else json.dumps(list(sighting.box_xyxy)),
        "quality": float(sighting.quality),
        "thumbnail": thumbnail,
        "embedding": embedding,
    }


def number_of(model: ModelKey) -> int:
    """Number of an exit, which all processes compute alike."""
    name = f"{model.digest}/{model.depth}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


def expression(where: Filter) -> str | None:
    """A filter as an expression of the server; None if nothing can pass."""
    if where.cameras == frozenset() or where.persons == frozenset():
        return None
    conditions = ["sighting_id >= 0"]
    if where.cameras is not None:
        conditions.append(f"camera_id in {sorted(where.cameras)}")
    if where.not_cameras:
        conditions.append(f"camera_id not in {sorted(where.not_cameras)}")
    if where.from_s is not None:
        conditions.append(f"time_s >= {float(where.from_s)!r}")
    if where.until_s is not None:
        conditions.append(f"time_s < {float(where.until_s)!r}")
    if where.persons is not None:
        conditions.append(f"person_id in {sorted(where.persons)}")
    if where.not_persons:
        conditions.append(f"person_id not in {sorted(where.not_persons)}")
    if where.depth is not None:
        conditions.append(f"depth == {where.depth}")
    return " and ".join(conditions)


def result(hits: list[Any]) -> SearchResult:
    """A server's answers to a query, best first."""
    # The id is requested by name: servers differ in the name of an answer's key.
    found = [(float(hit["distance"]), hit["entity"]) for hit in hits]
    found.sort(key=lambda answer: (-answer[0], answer[1]["sighting_id"]))

    def column(name: str, kind: type) -> NDArray[Any]:
        return np.array([facts[name] for _, facts in found], dtype=kind)

    return SearchResult(
        sighting_ids=column("sighting_id", np.int64),
        similarity=np.array([similarity for similarity, _ in found], dtype=np.float32),
        person_ids=column("person_id", np.int64),
        camera_ids=column("camera_id", np.int64),
        time_s=column("time_s", np.float64),
        depths=column("depth", np.int64),
    )
