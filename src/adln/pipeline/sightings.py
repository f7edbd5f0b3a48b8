"""A sighting as it leaves the device: which person, where, when, and with what probability.

One JSON object per sighting, format ``adln-sighting-1``, described for receivers in
`docs/sightings.md`. It contains a picture only if the operator has enabled pictures.
"""

import base64
import binascii
import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, fields
from functools import cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from adln.cameras.names import LARGEST_NUMBER, NAME_PATTERN, is_camera_name
from adln.errors import SightingError
from adln.matching.calibration import Verdict
from adln.strict import parse_json

FORMAT = "adln-sighting-1"
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_NAME = f"printable text like {NAME_PATTERN}"
_EVENT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class SightingEvent:
    """One sighting, ready to be sent.

    Attributes:
        event_id: Identifies this sighting. A receiver that gets the same id twice drops one of the
            two. See `make_event_id`.
        camera_id: The camera's number in the gallery, from 0.
        camera_name: The camera's name: at most 64 printable characters, without slashes, + and #.
        track_id: The track, unique within the camera.
        first_time_s: When the person was first seen in this track, Unix time.
        last_time_s: When they were last seen in it.
        person_id: The identity across all cameras; None for an unknown person who was not enrolled.
        verdict: "matched", "candidate" (for somebody to review) or "unknown".
        probability: That this is the person named, in 0..1; for a new person, that it is nobody
            known before.
        depth: Depth of the network in use, 1 to 4.
        model: SHA-256 of the network file, in hex.
        box_xyxy: The last box of the person in the frame, in px.
        quality: Quality of the best crop, 0 (useless) to 1 (best).
        crop_jpeg: The best crop as JPEG, only if pictures are enabled.
        score: Cosine to the nearest person, named or not; None if nobody was compared.
        threshold: Lowest cosine that would have been a match.
        runner_up_id: The second nearest person; None if there is none.
        runner_up_score: Cosine to that person.
        reason: Reason for the verdict, in words; "not asked: ..." if nobody was compared.
        new_person: Whether the person was enrolled from this track.
        format: Version of this record.

    Raises:
        SightingError: A value is invalid.
    """

    event_id: str
    camera_id: int
    camera_name: str
    track_id: int
    first_time_s: float
    last_time_s: float
    person_id: int | None
    verdict: Verdict
    probability: float
    depth: int
    model: str
    box_xyxy: tuple[float, float, float, float]
    quality: float
    crop_jpeg: bytes | None = None
    score: float | None = None
    threshold: float | None = None
    runner_up_id: int | None = None
    runner_up_score: float | None = None
    reason: str = ""
    new_person: bool = False
    format: str = FORMAT

    def __post_init__(self) -> None:
        for name, types in _types().items():
            # Check now, not when writing: a numpy integer, for example, cannot be written as JSON.
            _plain(name, getattr(self, name), types)
        if not isinstance(self.box_xyxy, tuple) or len(self.box_xyxy) != 4:
            raise SightingError(
                f"not a sighting: box_xyxy is {self.box_xyxy!r}, expected four numbers."
            )
        for side in self.box_xyxy:
            _plain("box_xyxy", side, (int, float))
        left, top, right, bottom = self.box_xyxy
        numbers = (self.first_time_s, self.last_time_s, *self.box_xyxy)
        is_unknown, is_somebody = self.verdict == "unknown", self.person_id is not None
        why = [getattr(self, name) for name in _WHY_NUMBERS]
        problems = [
            f"{name} is {getattr(self, name)!r}, expected {expected}"
            for name, is_fine, expected in (
                ("format", self.format == FORMAT, repr(FORMAT)),
                ("event_id", _EVENT_ID.fullmatch(self.event_id), f"text like {_EVENT_ID.pattern}"),
                ("camera_id", 0 <= self.camera_id <= LARGEST_NUMBER, f"0 to {LARGEST_NUMBER}"),
                ("camera_name", is_camera_name(self.camera_name), _NAME),
                ("box_xyxy", all(map(_is_finite, numbers)), "finite numbers, as for all times"),
                ("box_xyxy", left <= right and top <= bottom, "left <= right and top <= bottom"),
                ("last_time_s", self.first_time_s <= self.last_time_s, "first_time_s or later"),
                ("verdict", self.verdict in VERDICTS, f"one of {VERDICTS}"),
                (
                    "person_id",
                    is_somebody or is_unknown,
                    f"a person, as the verdict is {self.verdict!r}",
                ),
                (
                    "new_person",
                    not self.new_person or (is_unknown and is_somebody),
                    'false, unless the verdict is "unknown" and there is a person_id',
                ),
                ("probability", 0 <= self.probability <= 1, "0 to 1"),
                ("depth", self.depth in (1, 2, 3, 4), "1 to 4"),
                ("model", self.model != "", "the digest of a network file"),
                ("quality", 0 <= self.quality <= 1, "0 to 1"),
                *(
                    (name, value is None or _is_finite(value), "a finite number or null")
                    for name, value in zip(_WHY_NUMBERS, why, strict=True)
                ),
                (
                    "runner_up_score",
                    (self.runner_up_id is None) == (self.runner_up_score is None),
                    "a score exactly if there is a runner-up",
                ),
                ("reason", len(self.reason) <= _LONGEST_REASON, "a sentence"),
                ("reason", self.reason or why == [None] * 3, "a sentence, where there is a score"),
            )
            if not is_fine
        ]
        if problems:
            raise SightingError(f"not a sighting: {'; '.join(problems)}")

    def to_json(self) -> str:
        """One line of JSON, with keys in a fixed order; optional keys only if set."""
        values = {"format": self.format, **asdict(self)}
        del values["crop_jpeg"]
        for name in _LATER:
            if not (self.new_person if name == "new_person" else self.reason):
                del values[name]
        if self.crop_jpeg is not None:
            values["crop_jpeg_base64"] = base64.b64encode(self.crop_jpeg).decode("ascii")
        return json.dumps(values, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "SightingEvent":
        """Read the output of `to_json`, strictly.

        Raises:
            SightingError: Not JSON, an unknown or missing key, or a value of the wrong type or out
                of range.
        """
        try:
            values = parse_json(text)
        except ValueError as error:
            raise SightingError(f"not a sighting: {error}. Expected one JSON object.") from error
        if not isinstance(values, dict):
            raise SightingError(f"not a sighting: {values!r} is not a JSON object.")
        if values.get("format") != FORMAT:
            raise SightingError(
                f"not a sighting: format is {values.get('format')!r}, this version of adln reads "
                f"{FORMAT!r}."
            )
        picture = values.pop("crop_jpeg_base64", None)
        if not isinstance(values.get("new_person", False), bool):
            raise SightingError(
                f"not a sighting: new_person is {values['new_person']!r}, expected true or false."
            )
        expected = {field.name for field in fields(cls)} - {"crop_jpeg"}
        unknown = sorted(values.keys() - expected)
        missing = sorted(expected - _LATER - values.keys())
        if unknown or missing:
            what = f"unknown keys {unknown}" if unknown else f"no {', '.join(missing)}"
            raise SightingError(f"not a sighting: it has {what}.")
        if isinstance(values["box_xyxy"], list):
            values["box_xyxy"] = tuple(values["box_xyxy"])
        return cls(**values, crop_jpeg=_decoded(picture))


def make_event_id(*parts: str | int) -> str:
    """An id, 32 hex digits, from the parts that identify a sighting: a rerun gives the same id.

    These are for example an id of the run (the digest of a video file; the start time of a live
    camera), the camera, the track, and the number of the event in the track.
    """
    # Each part with its length, so that "1", "23" and "12", "3" differ.
    text = "".join(f"{len(str(part))}:{part}," for part in parts)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


_WHY_NUMBERS = ("score", "threshold", "runner_up_score")
# Keys missing in records of earlier versions.
_LATER = frozenset({*_WHY_NUMBERS, "runner_up_id", "reason", "new_person"})
_LONGEST_REASON = 1000


@cache
def _types() -> dict[str, tuple[type, ...]]:
    """Field -> allowed types of its value, for fields of text and numbers."""
    known: dict[str, tuple[type, ...]] = {}
    for name, kind in get_type_hints(SightingEvent).items():
        parts = get_args(kind) if isinstance(kind, UnionType) else (kind,)
        whole = tuple(str if get_origin(part) is Literal else part for part in parts)
        known[name] = (int, *whole) if float in whole else whole
    for name in ("box_xyxy", "crop_jpeg", "new_person"):
        del known[name]
    return known


def _plain(name: str, value: Any, types: tuple[type, ...]) -> Any:
    if not isinstance(value, types) or isinstance(value, bool):
        expected = " or ".join(kind.__name__ for kind in types)
        raise SightingError(f"not a sighting: {name} is {value!r}, expected {expected}.")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _decoded(picture: object) -> bytes | None:
    if picture is None:
        return None
    try:
        return base64.b64decode(_plain("crop_jpeg_base64", picture, (str,)), validate=True)
    except binascii.Error as error:
        raise SightingError(f"not a sighting: crop_jpeg_base64 is not base64: {error}.") from error
