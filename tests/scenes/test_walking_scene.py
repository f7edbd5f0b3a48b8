import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adln.errors import DatasetError
from adln.scenes.drawn_people import describe_person
from adln.scenes.walking_routes import WalkedRoute
from adln.scenes.walking_scene import (
    CAMERA_IDS,
    ScenePlan,
    SceneTruth,
    WalkingScene,
    collect_truth,
    read_truth,
    truth_row,
    write_scene,
)
from adln.scenes.walking_views import MOUNTINGS

PLAN = ScenePlan(num_persons=16, duration_s=60.0, frames_per_s=2.0, width_px=320, height_px=180)


@pytest.fixture(scope="module")
def scene() -> WalkingScene:
    return WalkingScene(PLAN)


@pytest.fixture(scope="module")
def truth(scene: WalkingScene) -> SceneTruth:
    return collect_truth([truth_row(frame) for c in CAMERA_IDS for frame in scene.frames(c)])


def test_a_picture_depends_on_plan_camera_and_index_alone(scene: WalkingScene) -> None:
    again = WalkingScene(PLAN)
    for index in (7, 3):
        ours, theirs = scene.frame(2, index), again.frame(2, index)
        np.testing.assert_array_equal(ours.picture, theirs.picture)
        assert ours.people == theirs.people


def test_a_longer_scene_begins_like_a_shorter_one(scene: WalkingScene) -> None:
    longer = WalkingScene(replace(PLAN, duration_s=90.0)).frame(1, 40)
    np.testing.assert_array_equal(longer.picture, scene.frame(1, 40).picture)


def test_another_seed_draws_another_scene(scene: WalkingScene) -> None:
    other = WalkingScene(replace(PLAN, seed=1)).frame(1, 10)
    assert other.people != scene.frame(1, 10).people


def test_pictures_are_rgb_bytes_of_the_size_asked_for(scene: WalkingScene) -> None:
    for camera_id in CAMERA_IDS:
        frame = scene.frame(camera_id, 0)
        assert frame.picture.shape == (180, 320, 3)
        assert frame.picture.dtype == np.uint8
    assert scene.frame(3, 5).time_s == 2.5


def test_cameras_look_different(scene: WalkingScene) -> None:
    means = [scene.frame(c, 0).picture.mean(axis=(0, 1)) for c in CAMERA_IDS]
    for i in range(3):
        for k in range(i):
            assert np.abs(means[i] - means[k]).max() > 5


def test_boxes_lie_in_the_picture_and_shares_are_shares(truth: SceneTruth) -> None:
    left, top, right, bottom = truth.boxes_xyxy.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= 320).all()
    assert (bottom <= 180).all()
    assert (right > left).all()
    assert (bottom > top).all()
    assert (truth.visible_fractions > 0).all()
    assert (truth.visible_fractions <= 1).all()


def test_nobody_is_twice_in_a_picture(truth: SceneTruth) -> None:
    keys = np.stack([truth.camera_ids, truth.frame_indices, truth.person_ids])
    assert np.unique(keys, axis=1).shape == keys.shape


def test_people_hide_one_another(truth: SceneTruth) -> None:
    inside = (truth.boxes_xyxy[:, 0] > 0) & (truth.boxes_xyxy[:, 2] < 320)
    inside &= truth.boxes_xyxy[:, 3] < 180
    assert (truth.visible_fractions[inside] < 0.5).sum() >= 5
    assert (truth.visible_fractions > 0.98).mean() > 0.4


def test_sizes_follow_perspective(truth: SceneTruth) -> None:
    whole = truth.visible_fractions > 0.98
    heights = (truth.boxes_xyxy[:, 3] - truth.boxes_xyxy[:, 1])[whole]
    feet = truth.boxes_xyxy[whole, 3]
    assert heights.max() > 1.8 * heights.min()
    assert np.corrcoef(heights, feet)[0, 1] > 0.8


def test_cameras_1_and_2_see_the_same_people_at_once_but_never_with_camera_3(
    truth: SceneTruth,
) -> None:
    seen = {
        camera: set(
            zip(
                truth.frame_indices[truth.camera_ids == camera].tolist(),
                truth.person_ids[truth.camera_ids == camera].tolist(),
                strict=True,
            )
        )
        for camera in CAMERA_IDS
    }
    assert len(seen[1] & seen[2]) > 20
    assert not seen[3] & (seen[1] | seen[2])


def test_people_reach_the_hall_after_a_walk_and_come_back_to_a_camera(truth: SceneTruth) -> None:
    changed, returned = 0, 0
    for person in np.unique(truth.person_ids):
        mine = truth.person_ids == person
        order = np.argsort(truth.times_s[mine], kind="stable")
        times = truth.times_s[mine][order]
        in_hall = truth.camera_ids[mine][order] == 3
        gaps = np.diff(times)
        moves = in_hall[1:] != in_hall[:-1]
        assert (gaps[moves] > 8).all()
        changed += int(moves.sum())
        returned += int(((gaps > 4) & ~moves).sum())
    assert changed >= 4
    assert returned >= 3


def test_the_person_in_a_box_wears_the_clothes_of_that_person(scene: WalkingScene) -> None:
    """The same person's boxes are nearer in colour than boxes of different persons."""
    colours: dict[int, list[np.ndarray]] = {}
    for index in range(0, PLAN.num_frames, 3):
        frame = scene.frame(3, index)
        for seen in frame.people:
            left, top, right, bottom = (int(value) for value in seen.box_xyxy)
            if seen.visible_fraction > 0.9 and bottom - top > 40:
                middle = frame.picture[
                    top + (bottom - top) // 5 : top + (bottom - top) // 2,
                    left + (right - left) // 3 : right - (right - left) // 3,
                ]
                colours.setdefault(seen.person_id, []).append(middle.mean(axis=(0, 1)))
    means = {k: np.mean(v, axis=0) for k, v in colours.items() if len(v) >= 3}
    assert len(means) >= 4
    within = np.mean([np.linalg.norm(c - means[k]) for k in means for c in colours[k]])
    between = np.mean([np.linalg.norm(means[a] - means[b]) for a in means for b in means if a < b])
    assert within < 0.6 * between


def test_a_crowd_gathers_in_the_middle_third() -> None:
    plan = replace(PLAN, num_persons=0, crowd=30, duration_s=90.0, frames_per_s=1.0)
    crowd = WalkingScene(plan)
    assert crowd.frame(1, 20).people == ()
    both = {p.person_id for camera in (1, 2) for p in crowd.frame(camera, 50).people}
    assert len(both) >= 28
    assert len(crowd.frame(1, 89).people) == 0


def test_a_written_scene_is_read_back(tmp_path: Path) -> None:
    plan = replace(PLAN, duration_s=2.0)
    done: list[int] = []
    assert write_scene(tmp_path / "scene", plan, on_progress=done.append) == 12 == sum(done)
    lines = (tmp_path / "scene" / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["file"] for row in rows[:4]] == [
        "camera_1/000000.jpg",
        "camera_2/000000.jpg",
        "camera_3/000000.jpg",
        "camera_1/000001.jpg",
    ]
    with Image.open(tmp_path / "scene" / rows[0]["file"]) as picture:
        assert picture.size == (320, 180)
    read = read_truth(tmp_path / "scene")
    drawn = collect_truth([truth_row(f) for f in WalkingScene(plan).frames(1)])
    own = read.camera_ids == 1
    np.testing.assert_array_equal(read.person_ids[own], drawn.person_ids)
    np.testing.assert_array_equal(read.boxes_xyxy[own], drawn.boxes_xyxy)


def test_a_drawing_replaces_an_earlier_one_but_no_other_files(tmp_path: Path) -> None:
    plan = replace(PLAN, duration_s=1.0)
    write_scene(tmp_path / "scene", plan)
    write_scene(tmp_path / "scene", replace(plan, duration_s=0.5))
    assert len(list((tmp_path / "scene").rglob("*.jpg"))) == 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DatasetError, match="left alone"):
        write_scene(tmp_path / "mine", plan)


def test_an_interrupted_drawing_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scene(tmp_path / "scene", replace(PLAN, duration_s=1.0), on_progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["not json", '{"camera_id": 1}', "[]"])
def test_a_truth_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "truth.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="Draw the scene again"):
        read_truth(tmp_path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_truth(tmp_path / "nowhere")


def test_what_the_scene_does_not_have_is_refused(scene: WalkingScene) -> None:
    with pytest.raises(DatasetError, match="cameras"):
        scene.frame(4, 0)
    with pytest.raises(DatasetError, match="pictures 0 to 119"):
        scene.frame(1, 120)
    with pytest.raises(DatasetError, match="duration_s"):
        ScenePlan(duration_s=0)


def test_given_routes_and_cameras_take_the_place_of_the_plans() -> None:
    person = describe_person(0, 5)
    places = np.array([[2.0, 3.0], [6.0, 3.0]])
    route = WalkedRoute(person, np.array([0.0, 4.0]), places, ["walk"])
    plan = ScenePlan(duration_s=4.0, frames_per_s=2.0)
    scene = WalkingScene(plan, routes={7: (person, route)}, mountings=MOUNTINGS[:1])
    seen = [[one.person_id for one in frame.people] for frame in scene.frames(1)]
    assert seen == [[7]] * plan.num_frames
    with pytest.raises(DatasetError, match=r"cameras \(1,\), got 2"):
        scene.frame(2, 0)
