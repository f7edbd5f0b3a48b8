import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from adln.cameras.frames import Frame
from adln.errors import SettingsError
from adln.pipeline.annotated_video import VideoWriters
from adln.pipeline.drawing import FrameArtist, person_colour
from adln.pipeline.watch_parts import NamedBox, SeenFrame


def person(person_id: int | None, **more: object) -> NamedBox:
    values = {"track_id": 1, "box_xyxy": (60.0, 60.0, 120.0, 200.0), "verdict": "matched"}
    return NamedBox(person_id=person_id, **(values | more))  # type: ignore[arg-type]


def seen(camera: str, time_s: float, *people: NamedBox) -> SeenFrame:
    image = np.full((240, 321, 3), 90, np.uint8)
    return SeenFrame(frame=Frame(camera, 0, time_s, image), people=people)


def read(path: Path) -> tuple[float, int, str]:
    video = cv2.VideoCapture(str(path))
    fps, frames = video.get(cv2.CAP_PROP_FPS), int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    code = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    video.release()
    return fps, frames, code


@pytest.mark.parametrize("fps", [4, 25])
@pytest.mark.parametrize(("name", "code"), [("out.mp4", "VP90"), ("out.webm", "VP80")])
def test_a_video_has_the_rate_of_its_frames_and_a_codec_that_browsers_play(
    tmp_path: Path, fps: int, name: str, code: str
) -> None:
    writers = VideoWriters(tmp_path / name)
    for at in range(20):
        writers.add(seen("door", 1e9 + at / fps))
    writers.close()
    found_fps, frames, found_code = read(tmp_path / name)
    assert found_fps == pytest.approx(fps, rel=0.01)
    assert (frames, found_code.upper()) == (20, code.upper())


class SlowWriter:
    """Stands for an encoder that is slower than the watch."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.levels: list[int] = []

    def __call__(self, *_: object) -> "SlowWriter":
        return self

    def fourcc(self, *_: str) -> int:
        return 0

    def isOpened(self) -> bool:  # noqa: N802 - as OpenCV calls it
        return True

    def write(self, image: NDArray[np.uint8]) -> None:
        self.may_go_on.wait(10)
        self.levels.append(int(image[-1, 0, 0]))

    def release(self) -> None:
        pass


def test_the_watch_goes_on_while_frames_are_encoded_and_their_order_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SlowWriter()
    monkeypatch.setattr(cv2, "VideoWriter", writer)
    writers = VideoWriters(tmp_path / "out.mp4")
    for at in range(8):
        image = np.full((240, 320, 3), 20 * at, np.uint8)
        writers.add(SeenFrame(frame=Frame("door", at, at / 10, image), people=()))
    assert writer.levels == []
    writer.may_go_on.set()
    writers.close()
    assert writer.levels == [20 * at for at in range(8)]


def test_frames_that_are_missing_leave_the_others_at_their_times(tmp_path: Path) -> None:
    writers = VideoWriters(tmp_path / "out.webm")
    for at in [*range(10), *range(15, 20), *range(5000, 5005)]:
        writers.add(seen("door", at / 10))
    writers.close()
    # Of the long pause two seconds are shown.
    assert read(tmp_path / "out.webm")[1] == 20 + 20 + 4


def test_each_camera_has_a_file_of_its_own(tmp_path: Path) -> None:
    for target in (tmp_path / "all", tmp_path / "all.webm"):
        writers = VideoWriters(target, cameras=3)
        for camera in ("Door", "door", "a:b"):
            writers.add(seen(camera, 0.0))
        writers.close()
    names = sorted(path.name for path in tmp_path.rglob("*.*"))
    assert names == [
        "Door.mp4", "a_b.mp4", "all-Door.webm", "all-a_b.webm", "all-door-2.webm", "door-2.mp4"
    ]  # fmt: skip


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        VideoWriters(tmp_path / "file" / "videos")


def test_a_person_has_a_box_in_their_colour_and_stands_in_the_legend() -> None:
    artist = FrameArtist("Tür", lambda number: {7: "Zoë"}.get(number))
    frame = seen("Tür", 1e9, person(7, probability=0.93))
    drawn = artist.draw((frame.frame.image.copy(), 1.0), frame)
    assert (drawn[150, 60] == person_colour(7)).all()
    later = seen("Tür", 1e9 + 12)
    legend = artist.draw((later.frame.image.copy(), 1.0), later)
    assert (legend[:60] == person_colour(7)).all(axis=2).sum() > 30
    gone = seen("Tür", 1e9 + 300)
    empty = artist.draw((gone.frame.image.copy(), 1.0), gone)
    assert not (empty == person_colour(7)).all(axis=2).any()


@pytest.mark.parametrize(
    ("box", "label"),
    [
        (person(None), "who?"),
        (person(3, is_new=True), "Person 3  ·  new"),
        (person(3, probability=0.93), "Person 3  ·  93 %"),
        (
            NamedBox(track_id=1, box_xyxy=(0, 0, 1, 1), person_id=3, verdict="candidate"),
            "Person 3?",
        ),
    ],
)
def test_labels_say_how_sure_it_is(box: NamedBox, label: str) -> None:
    assert FrameArtist("door", lambda _: None)._label(box) == label


def test_boxes_that_reach_out_of_the_picture_are_drawn_as_far_as_they_are_inside() -> None:
    artist = FrameArtist("door", lambda _: None)
    frame = seen("door", 0.0, NamedBox(
        track_id=1, box_xyxy=(-50, -50, 900, 900), person_id=1, verdict="matched"
    ))  # fmt: skip
    artist.draw((frame.frame.image.copy(), 1.0), frame)


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    recording = tmp_path / "door.mp4"
    recording.write_bytes(b"the only copy")
    link = tmp_path / "link.mp4"
    link.symlink_to(recording)
    for target in (recording, link):
        with pytest.raises(SettingsError, match="the recording itself"):
            VideoWriters(target, recordings=[recording])
    # The folder of the recordings, where each camera is called like its file.
    writers = VideoWriters(tmp_path, recordings=[recording])
    assert writers._path_of("door") == tmp_path / "door-2.mp4"
    assert writers._path_of("yard") == tmp_path / "yard.mp4"
    assert recording.read_bytes() == b"the only copy"


def test_a_file_of_another_kind_does_not_become_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"written as \.mp4 or \.webm"):
        VideoWriters(tmp_path / "out.avi")
    assert not (tmp_path / "out.avi").exists()
