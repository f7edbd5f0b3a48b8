import json
from dataclasses import replace

import pytest

from adln.errors import ServiceError
from adln.pipeline.sightings import SightingEvent
from adln.service.live import CameraPicture, CameraView, PersonInView, PipelineView, Scene
from adln.service.messages import Ended, Message, Report, decode, encode

CAMERAS = frozenset({1, 2})
SIGHTING = SightingEvent(
    event_id="event",
    camera_id=1,
    camera_name="yard",
    track_id=4,
    first_time_s=1.0,
    last_time_s=2.0,
    person_id=7,
    verdict="matched",
    probability=0.9,
    depth=2,
    model="ab" * 32,
    box_xyxy=(0.0, 0.0, 10.0, 20.0),
    quality=0.5,
)
VIEW = CameraView(
    camera_id=1, name="yard", state="running", fps=9.5, people=1, last_frame_s=None, last_error="x"
)
REPORT = Report(
    cameras=(VIEW, replace(VIEW, camera_id=2)), pipeline=PipelineView(state="running", depth=2)
)
PERSON = PersonInView(track_id=4, box_xyxy=(1.0, 2.0, 3.0, 4.0), person_id=None, verdict="unknown")
SCENE = Scene(camera_id=2, time_s=5.0, width_px=64, height_px=36, people=(PERSON,))
PICTURE = CameraPicture(camera_id=1, time_s=5.0, jpeg=b"\xff\xd8\xff" + bytes(range(256)))


@pytest.mark.parametrize(
    "message", [SIGHTING, REPORT, SCENE, PICTURE, Ended(), Ended(problem="No detector.")]
)
def test_what_is_said_is_what_is_heard(message: Message) -> None:
    assert decode(encode(message), CAMERAS) == message


def test_the_picture_of_a_sighting_stays_where_it_is() -> None:
    assert decode(encode(replace(SIGHTING, crop_jpeg=b"picture")), CAMERAS) == SIGHTING


def changed(message: Message, **values: object) -> bytes:
    data = encode(message)
    return data[:1] + json.dumps({**json.loads(data[1:]), **values}).encode()


BAD = {
    "nothing": b"",
    "an unknown kind": b"x{}",
    "a pickle": b"\x80\x04N.",
    "no JSON": b"s{",
    "deep JSON": b"s" + b"[" * 100_000,
    "long JSON": changed(Ended(), problem="x" * 2**18),
    "an unknown key": changed(SCENE, more=1),
    "text for a number": changed(SCENE, width_px="64"),
    "no number": changed(SCENE, time_s=float("nan")),
    "no time": changed(SCENE, time_s=1e300),
    "no size": changed(SCENE, width_px=0),
    "a crowd": changed(SCENE, people=json.loads(encode(SCENE)[1:])["people"] * 301),
    "a scene of an unknown camera": changed(SCENE, camera_id=3),
    "a sighting of an unknown camera": changed(SIGHTING, camera_id=3),
    "a sighting with a picture": changed(SIGHTING, crop_jpeg_base64="AAAA"),
    "a sighting of no end": changed(SIGHTING, last_time_s=float("inf")),
    "a long sighting": changed(SIGHTING, model="x" * 10_000),
    "a report of other cameras": changed(REPORT, cameras=[]),
    "a state that there is not": changed(REPORT, pipeline={"state": "great"}),
    "a picture of an unknown camera": encode(replace(PICTURE, camera_id=3)),
    "a picture that is none": encode(replace(PICTURE, jpeg=b"<script>")),
    "a picture cut short": b"p\x00",
    "a picture with too much said": b"p\xff\xff\xff\xff{}",
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_few_words(name: str) -> None:
    with pytest.raises(ServiceError) as refused:
        decode(BAD[name], CAMERAS)
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()


def test_nothing_that_is_told_breaks_a_line_or_fills_a_log() -> None:
    ended = decode(changed(Ended(), problem="a\nb\x1b[31m" + "x" * 5000), CAMERAS)
    assert isinstance(ended, Ended)
    assert ended.problem.startswith("a b [31m")
    assert len(ended.problem) == 1000
