import numpy as np
import pytest
from PIL import ImageColor

from adln.reports.chart import _SERIES, HEIGHT, WIDTH, ChartPoint, draw_chart


def drawn(*points: ChartPoint) -> np.ndarray:
    return np.asarray(draw_chart(points, title="T", accuracy_name="mAP (%)", footer=("here",)))


def pixels_of(picture: np.ndarray, precision: str) -> np.ndarray:
    """Rows and columns, below the legend, in the colour of a precision."""
    colour = np.array(ImageColor.getrgb(_SERIES[precision]))
    places = np.argwhere((picture == colour).all(axis=2))
    return places[places[:, 0] > 100]


def test_a_faster_better_network_stands_left_and_up() -> None:
    picture = drawn(
        ChartPoint("good", 2.0, 80.0, "int8", is_own=True),
        ChartPoint("bad", 20.0, 60.0, "fp32", is_own=True),
    )
    assert picture.shape == (HEIGHT, WIDTH, 3)
    good, bad = pixels_of(picture, "int8").mean(axis=0), pixels_of(picture, "fp32").mean(axis=0)
    assert good[0] < bad[0]
    assert good[1] < bad[1]


def test_own_networks_of_a_precision_are_joined_and_peers_are_not() -> None:
    ends = (2.0, 60.0), (20.0, 80.0)
    own = drawn(*(ChartPoint("", *end, "fp32", is_own=True) for end in ends))
    peers = drawn(*(ChartPoint("", *end, "fp32", is_own=False) for end in ends))
    assert len(pixels_of(own, "fp32")) > 3 * len(pixels_of(peers, "fp32"))


@pytest.mark.parametrize("accuracy", [0.0, 55.0, 100.0])
def test_one_network_alone_can_be_drawn(accuracy: float) -> None:
    picture = drawn(ChartPoint("alone", 5.0, accuracy, "int8", is_own=True))
    assert len(pixels_of(picture, "int8")) > 50


def test_equal_networks_and_an_unknown_precision_can_be_drawn() -> None:
    point = ChartPoint("twin", 5.0, 50.0, "fp4", is_own=False)
    assert drawn(point, point).shape == (HEIGHT, WIDTH, 3)


def test_a_dial_has_a_colour_of_its_own_and_nameless_positions_are_small() -> None:
    named, nameless = (
        drawn(ChartPoint(label, 5.0, 70.0, "cascade", is_own=True)) for label in ("30%", "")
    )
    assert len(pixels_of(named, "cascade")) > len(pixels_of(nameless, "cascade")) > 20
