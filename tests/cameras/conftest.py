from pathlib import Path

import cv2
import numpy as np
import pytest

from adln.scenes.drawn_figure import draw_figure
from adln.scenes.drawn_people import describe_person


@pytest.fixture
def drawn_video(tmp_path: Path) -> Path:
    """A drawn person walks to the right: 30 frames of 160 x 240 px at 10 a second, MJPEG."""
    path = tmp_path / "walk.avi"
    figure = draw_figure(describe_person(1, 1), height_px=110, heading_deg=90)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (240, 160))
    for index in range(30):
        picture = np.full((160, 240, 3), 150, np.uint8)
        picture = figure.lay_over(picture, ground_xy=(40 + 5 * index, 150))
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path
