import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adln.errors import SightingError
from adln.pipeline.sightings import FORMAT, VERDICTS, SightingEvent, make_event_id

Make = Callable[..., SightingEvent]
WHY: dict[str, Any] = {
    "score": 0.91,
    "threshold": 0.87,
    "runner_up_id": 3,
    "runner_up_score": 0.52,
    "reason": "person 7 0.91 reaches 0.87; next is person 3 0.52",
}


def test_a_sighting_survives_json(make_event: Make) -> None:
    for event in (
        make_event(1),
        make_event(2, person_id=None, verdict="unknown"),
        make_event(3, crop_jpeg=b"\xff\xd8\xff"),
        make_event(4, **WHY),
        make_event(5, verdict="unknown", new_person=True),
    ):
        text = event.to_json()
        assert "\n" not in text
        assert SightingEvent.from_json(text) == event
        assert SightingEvent.from_json(text.encode()) == event


def test_keys_are_those_of_the_published_format(make_event: Make) -> None:
    assert list(json.loads(make_event(1).to_json())) == [
        "format",
        "event_id",
        "camera_id",
        "camera_name",
        "track_id",
        "first_time_s",
        "last_time_s",
        "person_id",
        "verdict",
        "probability",
        "depth",
        "model",
        "box_xyxy",
        "quality",
    ]


def test_there_is_no_picture_unless_one_was_given(make_event: Make) -> None:
    assert "crop" not in make_event(1).to_json()
    assert json.loads(make_event(1, crop_jpeg=b"abc").to_json())["crop_jpeg_base64"] == "YWJj"


def test_a_new_person_is_called_new_and_nobody_else(make_event: Make) -> None:
    new = json.loads(make_event(1, verdict="unknown", new_person=True).to_json())
    assert new["new_person"] is True
    assert "new_person" not in json.loads(make_event(1).to_json())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"probability": 1.2}, "probability"),
        ({"probability": float("nan")}, "probability"),
        ({"quality": -0.1}, "quality"),
        ({**WHY, "score": float("inf")}, "score"),
        ({**WHY, "runner_up_id": None}, "runner_up_score"),
        ({**WHY, "reason": ""}, "reason"),
        ({"depth": 5}, "depth"),
        ({"verdict": "surely"}, "verdict"),
        ({"verdict": "matched", "person_id": None}, "person_id"),
        ({"camera_name": "front door/+"}, "camera_name"),
        ({"camera_name": "yard#1"}, "camera_name"),
        ({"camera_name": "yard\u200b"}, "camera_name"),
        ({"camera_id": -1}, "camera_id"),
        ({"camera_id": 2**31}, "camera_id"),
        ({"event_id": ""}, "event_id"),
        ({"box_xyxy": (5.0, 0.0, 1.0, 9.0)}, "box_xyxy"),
        ({"box_xyxy": (0.0, 0.0, float("inf"), 9.0)}, "box_xyxy"),
        ({"last_time_s": 0.0}, "last_time_s"),
        ({"model": ""}, "model"),
        ({"new_person": True}, "new_person"),
        ({"new_person": True, "verdict": "unknown", "person_id": None}, "new_person"),
        ({"format": "adln-sighting-2"}, "format"),
        ({"track_id": np.int64(3)}, "track_id"),
        ({"probability": np.float32(0.5)}, "probability"),
        ({"box_xyxy": np.zeros(4)}, "box_xyxy"),
        ({"box_xyxy": (0.0, 0.0, np.float32(1), 1.0)}, "box_xyxy"),
        ({"last_time_s": 10**400}, "finite"),
    ],
)
def test_an_impossible_value_is_named(
    make_event: Make, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(SightingError, match=named):
        make_event(1, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "unknown keys"),
        ({"track_id": None}, "track_id"),
        ({"track_id": True}, "track_id"),
        ({"track_id": 1.5}, "track_id"),
        ({"camera_name": 3}, "camera_name"),
        ({"new_person": 1}, "new_person"),
        ({"box_xyxy": [1, 2, 3]}, "four numbers"),
        ({"box_xyxy": [1, 2, 3, "4"]}, "box_xyxy"),
        ({"format": "adln-sighting-9"}, "adln-sighting-9"),
        ({"crop_jpeg_base64": "not base64!"}, "base64"),
        ({"crop_jpeg_base64": 3}, "crop_jpeg_base64"),
    ],
)
def test_a_text_that_is_no_sighting_is_refused(
    make_event: Make, changes: dict[str, Any], message: str
) -> None:
    values = {**json.loads(make_event(1).to_json()), **changes}
    with pytest.raises(SightingError, match=message):
        SightingEvent.from_json(json.dumps(values))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"format": "adln-sighting-1"}', b"\xff\xfe"]
)
def test_broken_texts_are_refused(text: str | bytes) -> None:
    with pytest.raises(SightingError):
        SightingEvent.from_json(text)


def test_any_text_may_name_the_model(make_event: Make) -> None:
    event = make_event(1, model="réseau \ud800")
    event.to_json().encode("ascii")
    assert SightingEvent.from_json(event.to_json()) == event


def test_the_same_work_gives_the_same_id_and_other_work_another() -> None:
    assert make_event_id("run", 1, 23) == make_event_id("run", 1, 23)
    ids = {make_event_id(*parts) for parts in (("run", 1, 23), ("run", 12, 3), ("run", 123))}
    assert len(ids) == 3


def test_the_published_schema_names_the_same_keys_and_verdicts(make_event: Make) -> None:
    path = Path(__file__).parents[2] / "docs" / "sighting.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    written = list(json.loads(make_event(1).to_json()))
    assert schema["required"] == written
    assert list(json.loads(make_event(1, **WHY).to_json())) == [*written, *WHY]
    assert list(schema["properties"]) == [*written, *WHY, "new_person", "crop_jpeg_base64"]
    assert schema["properties"]["verdict"]["enum"] == list(VERDICTS)
    assert schema["properties"]["format"]["const"] == FORMAT
    assert schema["additionalProperties"] is False
