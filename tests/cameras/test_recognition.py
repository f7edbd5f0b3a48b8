"""Following people by what they look like; `tests.cameras.test_tracker` has motion alone."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from adln.cameras.appearance import AppearanceSettings
from adln.cameras.detections import Detections
from adln.cameras.tracker import ByteTracker, TrackerSettings
from adln.errors import CameraError

FPS = 10
HEIGHT_PX, WIDTH_PX = 400, 1000
PICTURE = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
RED, GREEN, BLUE = np.eye(4, dtype=np.float32)[:3]

Person = tuple[float, NDArray[np.float32]]
"""Left side of a box of 40 x 100 px in the middle of the picture, and a look."""


class Stage:
    """People before a camera, with an appearance that counts the boxes it is asked for."""

    def __init__(self, *, looking: bool = True, settings: TrackerSettings | None = None) -> None:
        self.tracker = ByteTracker(settings, appearance=self._embed if looking else None)
        self.asked = 0
        self.ended: list[int] = []
        self._frame = 0
        self._here: Sequence[Person] = ()

    def show(self, *people: Person, confidence: float = 0.9) -> list[int | None]:
        """One frame; gives the number of each of the people."""
        self._here = people
        boxes = np.array([_box(left) for left, _ in people], np.float32).reshape(-1, 4)
        found = Detections(boxes, np.full(len(people), confidence, np.float32))
        update = self.tracker.update(found, self._frame / FPS, PICTURE)
        self._frame += 1
        self.ended += update.ended
        numbers: Mapping[int, int] = {one.detection: one.track_id for one in update.people}
        return [numbers.get(at) for at in range(len(people))]

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * FPS)):
            self.show()

    def _embed(
        self, image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        assert image is PICTURE
        self.asked += len(boxes_xyxy)
        looks = {round(_box(left)[0], 3): look for left, look in self._here}
        return np.stack([looks[round(float(box[0]), 3)] for box in boxes_xyxy])


def _box(left: float) -> list[float]:
    return [left, 150.0, left + 40.0, 250.0]


def _meet_and_turn_back(stage: Stage) -> list[list[int | None]]:
    """Two walk towards each other, one is hidden by the other, and both walk back."""
    for step in range(15):
        before = stage.show((200 + 10 * step, RED), (510 - 10 * step, GREEN))
    for _ in range(5):
        stage.show((355, RED))
    for step in range(15):
        after = stage.show((340 - 10 * step, RED), (370 + 10 * step, GREEN))
    return [before, after]


def test_who_was_hidden_by_another_and_turned_back_keeps_the_number() -> None:
    before, after = _meet_and_turn_back(Stage())
    assert before == after == [1, 2]


def test_a_person_who_passes_behind_another_keeps_the_number() -> None:
    stage = Stage()
    for step in range(40):
        hidden = 17 <= step <= 23
        people = [(500 - 8.0 * step, GREEN)]
        if not hidden:
            people.append((180 + 8.0 * step, RED))
        numbers = stage.show(*people)
        if step == 12:
            before = numbers
    assert numbers == before == [2, 1] or numbers == before == [1, 2]


def test_two_in_the_same_clothes_are_not_swapped_by_looks_alone() -> None:
    # Each looks a little more like the other one did, as the light may have it.
    red_1 = np.array([1.0, 0.10, 0, 0], np.float32)
    red_2 = np.array([1.0, 0.0, 0.10, 0], np.float32)
    outcomes = []
    for looking in (True, False):
        stage = Stage(looking=looking)
        for step in range(30):
            near = step > 10
            looks = (red_2, red_1) if near else (red_1, red_2)
            numbers = stage.show((200 + 6 * step, looks[0]), (236 + 6 * step, looks[1]))
        outcomes.append(numbers)
    assert outcomes == [[1, 2], [1, 2]]


@pytest.mark.parametrize("seconds", [0.5, 1.5, 4.0, 8.0])
def test_who_comes_back_where_they_vanished_keeps_the_number(seconds: float) -> None:
    stage = Stage()
    for _ in range(10):
        stage.show((300, RED))
    stage.wait(seconds)
    for _ in range(5):
        numbers = stage.show((340, RED))
    assert numbers == [1]
    assert stage.ended == []


def test_who_comes_back_too_late_is_somebody_new_and_the_old_number_ends_once() -> None:
    stage = Stage(settings=TrackerSettings(appearance=AppearanceSettings(keep_s=3.0)))
    for _ in range(10):
        stage.show((300, RED))
    stage.wait(3.5)
    for _ in range(5):
        numbers = stage.show((300, RED))
    assert numbers == [2]
    assert stage.ended == [1]


def test_a_newcomer_in_another_place_does_not_inherit_a_lost_number() -> None:
    stage = Stage()
    for _ in range(10):
        stage.show((100, RED))
    stage.wait(1.0)
    # Seven body heights away within a second: nobody runs like that.
    for _ in range(8):
        numbers = stage.show((800, RED))
    assert numbers == [2]


def test_a_newcomer_who_looks_different_does_not_inherit_a_lost_number() -> None:
    stage = Stage()
    for _ in range(10):
        stage.show((300, RED))
    stage.wait(1.0)
    for _ in range(8):
        numbers = stage.show((310, BLUE))
    assert numbers == [2]


def test_who_looks_like_two_lost_people_inherits_from_neither() -> None:
    stage = Stage()
    for _ in range(10):
        stage.show((200, RED), (400, RED))
    stage.wait(3.0)
    for _ in range(20):
        numbers = stage.show((300, RED))
    assert numbers == [3]


def test_who_left_the_picture_does_not_come_back_inside_of_it() -> None:
    stage = Stage()
    for step in range(12):
        stage.show((110 - 10 * step, RED))
    stage.wait(1.0)
    for _ in range(8):
        numbers = stage.show((90, RED))
    assert numbers == [2]


def test_a_track_that_another_person_has_caught_gets_its_number_taken_away() -> None:
    stage = Stage()
    for _ in range(15):
        stage.show((300, RED))
    stage.wait(0.2)
    seen = [stage.show((305, BLUE))[0] for _ in range(10)]
    assert seen[0] == 1  # by motion alone it must be the same
    assert seen[-1] == 2
    for _ in range(5):
        numbers = stage.show((305, BLUE), (360, RED))
    assert numbers == [2, 1]


def test_two_who_have_exchanged_their_numbers_get_them_back() -> None:
    stage = Stage()
    for _ in range(15):
        stage.show((300, RED), (420, GREEN))
    stage.wait(0.2)
    for _ in range(4):
        numbers = stage.show((302, GREEN), (418, RED))
    assert numbers == [2, 1]


def test_somebody_alone_is_looked_at_now_and_then_only() -> None:
    stage = Stage()
    for step in range(100):
        stage.show((100 + 5 * step, RED))
    assert 2 <= stage.asked <= 4
    assert stage.tracker.embeddings_made == stage.asked


def test_two_who_pass_one_another_are_looked_at_at_first_and_once_after_it() -> None:
    stage = Stage()
    for step in range(50):
        numbers = stage.show((300 + 5 * step, RED), (500 - 5 * step, GREEN))
    assert numbers == [1, 2]
    assert stage.asked == 4


def test_somebody_alone_who_is_missed_for_a_frame_or_weak_is_not_looked_at_more_often() -> None:
    seen, doubted = Stage(), Stage()
    for step in range(100):
        someone = (100 + 5 * step, RED)
        seen.show(someone)
        if step % 7 == 3:
            doubted.show()
        else:
            doubted.show(someone, confidence=0.45 if step % 5 == 1 else 0.9)
    assert doubted.asked <= seen.asked + 2


def test_who_was_covered_by_somebody_nearer_is_looked_at_again_without_doubt_by_motion() -> None:
    look = RED

    def embed(_: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([look if box[3] < 260 else GREEN for box in boxes_xyxy])

    tracker = ByteTracker(appearance=embed)
    far, near = [300.0, 150, 340, 250], [280.0, 20, 380, 330]

    def show(step: int, *boxes: list[float]) -> list[int]:
        found = Detections(np.array(boxes, np.float32), np.full(len(boxes), 0.9, np.float32))
        return [one.track_id for one in tracker.update(found, step / FPS, PICTURE).people]

    for step in range(10):
        assert show(step, far) == [1] * (step >= 2)
    for step in range(10, 16):
        show(step, far, near)
    look = BLUE
    for step in range(16, 26):
        numbers = show(step, far)
    assert numbers == [3]


def test_looks_can_be_turned_off_in_the_settings() -> None:
    stage = Stage(settings=TrackerSettings(appearance=AppearanceSettings(use=False)))
    _meet_and_turn_back(stage)
    assert stage.asked == 0


def test_boxes_that_show_two_people_are_not_looked_at() -> None:
    stage = Stage()
    for _ in range(30):
        stage.show((300, RED), (302, GREEN))
    assert stage.asked == 0


def test_trackers_share_nothing() -> None:
    first, second = Stage(), Stage()
    for _ in range(10):
        first.show((300, RED), (500, GREEN))
    first.wait(1.0)
    for _ in range(5):
        numbers = second.show((300, RED))
    assert numbers == [1]
    for _ in range(5):
        numbers = first.show((300, RED), (700, BLUE))
    assert numbers == [1, 3]


def test_an_appearance_that_answers_for_another_number_of_boxes_is_refused() -> None:
    tracker = ByteTracker(appearance=lambda _, boxes: np.zeros((len(boxes) + 1, 8)))
    found = Detections(np.array([_box(300)], np.float32), np.full(1, 0.9, np.float32))
    for step in range(3):
        tracker.update(found, step / FPS, PICTURE)
    with pytest.raises(CameraError, match="given 1 boxes"):
        tracker.update(found, 3 / FPS, PICTURE)


def test_an_appearance_that_knows_nothing_leaves_it_to_the_motion() -> None:
    tracker = ByteTracker(appearance=lambda _, boxes: np.zeros((len(boxes), 8)))
    found = Detections(np.array([_box(300)], np.float32), np.full(1, 0.9, np.float32))
    for step in range(8):
        update = tracker.update(found, step / FPS, PICTURE)
    assert [person.track_id for person in update.people] == [1]


def test_who_walks_along_the_side_of_the_picture_is_not_taken_for_somebody_who_left() -> None:
    """Feet at the lower border: a frame without them is no reason to ask who it is."""

    def at_the_border(left: float) -> list[float]:
        return [left, 260.0, left + 40.0, 360.0]

    looks = {0: RED}
    asked = []

    def embed(image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(len(boxes))
        return np.stack([looks[0]] * len(boxes))

    tracker = ByteTracker(appearance=embed)
    numbers = []
    for frame in range(40):
        is_missed = frame in (20, 21)
        boxes = np.array([] if is_missed else [at_the_border(100 + 4.0 * frame)], np.float32)
        # Half in sight only, so that looks cannot speak.
        confidence = 0.55 if frame in (22, 23) else 0.9
        found = Detections(
            boxes.reshape(-1, 4), np.full(0 if is_missed else 1, confidence, np.float32)
        )
        update = tracker.update(found, frame / FPS, PICTURE)
        if frame in (22, 23):
            numbers += [person.track_id for person in update.people]
    assert numbers == [1, 1]


def test_who_goes_out_at_the_side_is_somebody_who_left() -> None:
    stage = Stage()
    for step in range(20):
        stage.show((PICTURE.shape[1] - 140 + 5.0 * step, RED))
    (track,) = stage.tracker._tracks
    assert track.is_leaving
    stage = Stage()
    for step in range(20):
        stage.show((PICTURE.shape[1] - 40 - 5.0 * step, RED))
    (track,) = stage.tracker._tracks
    assert not track.is_leaving
