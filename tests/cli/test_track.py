from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from adln.cameras.mot_files import read_mot
from adln.cli.track import track
from adln.scenes.drawn_figure import draw_figure
from adln.scenes.drawn_people import describe_person


def draw_sequence(root: Path, *, hidden: range) -> None:
    """Somebody walks to the middle, is hidden for a while and walks on; 640 x 360 px."""
    (root / "img1").mkdir(parents=True)
    person = describe_person(0, 3)
    lines = []
    for frame in range(1, 41):
        picture = np.full((360, 640, 3), 150, np.uint8)
        if frame not in hidden:
            left = 200 + 4 * min(frame, hidden.start)
            figure = draw_figure(person, height_px=150, heading_deg=90, phase=frame / 2)
            picture = figure.lay_over(picture, ground_xy=(left + 30, 300))
            lines.append(f"{frame},-1,{left + 1},{141},60,165,0.95,-1,-1,-1\n")
        Image.fromarray(picture).save(root / "img1" / f"{frame:06d}.jpg", quality=92)
    (root / "det.txt").write_text("".join(lines))


def test_a_sequence_is_followed_by_looks_from_file_to_file(tmp_path: Path) -> None:
    draw_sequence(tmp_path, hidden=range(15, 36))  # 2.1 s: too long for motion
    out = tmp_path / "result.txt"
    arguments = [str(tmp_path / "det.txt"), "--out", str(out), "--fps", "10"]
    pictures = ["--pictures", str(tmp_path / "img1")]
    result = CliRunner().invoke(track, [*arguments, *pictures], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 person" in result.output
    followed = read_mot(out)
    assert set(followed.ids.tolist()) == {1}
    assert followed.frames.tolist() == [*range(3, 15), *range(38, 41)]
    CliRunner().invoke(track, [*arguments, *pictures, "--motion-only"], catch_exceptions=False)
    assert set(read_mot(out).ids.tolist()) == {1, 2}


def test_boxes_alone_are_followed_by_motion(tmp_path: Path) -> None:
    draw_sequence(tmp_path, hidden=range(15, 18))
    out = tmp_path / "result.txt"
    arguments = [str(tmp_path / "det.txt"), "--out", str(out), "--fps", "10"]
    result = CliRunner().invoke(track, arguments, catch_exceptions=False)
    assert "0 boxes embedded" in result.output
    assert set(read_mot(out).ids.tolist()) == {1}


def test_boxes_of_which_nobody_is_followed_are_no_silent_success(tmp_path: Path) -> None:
    # Milliseconds in place of frame numbers.
    lines = [f"{1 + 40 * at},-1,100,100,60,165,0.95,-1,-1,-1\n" for at in range(50)]
    (tmp_path / "det.txt").write_text("".join(lines))
    arguments = [str(tmp_path / "det.txt"), "--out", str(tmp_path / "out.txt"), "--fps", "10"]
    result = CliRunner().invoke(track, arguments, catch_exceptions=False)
    assert "0 people in 0 of 50 boxes" in result.output
    assert "Are the frames numbered 1, 2, 3" in result.stderr
