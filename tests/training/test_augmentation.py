"""Mirror, shift and erasing: chance as in the official codes, pixels as in a naive loop."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from adln.errors import SettingsError
from adln.training.augmentation import (
    ERASING_PIXEL,
    Augmentation,
    Draws,
    compose,
    draw,
    draw_colours,
    draw_rectangles,
    erase,
    pick,
    recolour,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "random_erasing.npz")
HEIGHT, WIDTH = (int(side) for side in GOLDEN["image_hw"])


def official_rectangle(rng: random.Random) -> tuple[int, int, int, int] | None:
    """Random erasing as its authors describe it, one image at a time."""
    if rng.uniform(0, 1) >= 0.5:
        return None
    for _ in range(100):
        area = rng.uniform(0.02, 0.4) * HEIGHT * WIDTH
        aspect = rng.uniform(0.3, 1 / 0.3)
        height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if width < WIDTH and height < HEIGHT:
            return rng.randint(0, HEIGHT - height), rng.randint(0, WIDTH - width), height, width
    return None


def test_the_naive_loop_draws_the_official_rectangles() -> None:
    rng = random.Random(0)
    rows = [official_rectangle(rng) or (-1, -1, 0, 0) for _ in range(2000)]
    np.testing.assert_array_equal(rows, GOLDEN["seed0_first2000_x1_y1_h_w"])


@pytest.fixture(scope="module")
def rectangles() -> NDArray[np.int64]:
    rng = np.random.default_rng(1)
    return draw_rectangles(50_000, HEIGHT, WIDTH, Augmentation(), rng)


def test_rectangles_are_distributed_as_the_official_ones(rectangles: NDArray[np.int64]) -> None:
    heights, widths = rectangles[:, 2].astype(float), rectangles[:, 3].astype(float)
    area, aspect = heights * widths / (HEIGHT * WIDTH), heights / widths
    assert area.mean() == pytest.approx(GOLDEN["area_mean"], rel=0.02)
    assert area.std() == pytest.approx(GOLDEN["area_std"], rel=0.02)
    assert heights.mean() == pytest.approx(GOLDEN["h_mean"], rel=0.02)
    assert widths.mean() == pytest.approx(GOLDEN["w_mean"], rel=0.02)
    assert aspect.mean() == pytest.approx(GOLDEN["aspect_mean"], rel=0.02)
    np.testing.assert_allclose(
        np.quantile(area, GOLDEN["area_quantiles_q"]), GOLDEN["area_quantiles"], rtol=0.03
    )
    np.testing.assert_allclose(
        np.quantile(aspect, GOLDEN["area_quantiles_q"]),
        GOLDEN["aspect_h_over_w_quantiles"],
        rtol=0.05,
    )


def test_rectangles_stay_inside_the_crop(rectangles: NDArray[np.int64]) -> None:
    top, left, height, width = rectangles.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= HEIGHT).all()
    assert (left + width <= WIDTH).all()
    assert top.min() == 0
    assert (top + height).max() == HEIGHT


def test_half_of_the_crops_are_erased_and_half_are_mirrored() -> None:
    values = draw(20_000, HEIGHT, WIDTH, Augmentation(), (0,)).values
    assert (values[:, 5] > 0).mean() == pytest.approx(GOLDEN["frac_erased"], abs=0.02)
    assert values[:, 0].mean() == pytest.approx(0.5, abs=0.02)
    assert values[:, 1:3].min() == -10
    assert values[:, 1:3].max() == 10


def test_the_erasing_pixel_is_the_official_fill_before_normalisation() -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    as_pixel = 255 * (mean + std * GOLDEN["fill_value"])
    np.testing.assert_allclose(ERASING_PIXEL, as_pixel, atol=0.5)


def naive_crop(
    image: NDArray[np.uint8], values: NDArray[np.int64], padding: int
) -> NDArray[np.uint8]:
    mirrored, down, right, top, left, erased_height, erased_width = values
    if mirrored:
        image = image[:, ::-1]
    height, width, _ = image.shape
    padded = np.zeros((height + 2 * padding, width + 2 * padding, 3), np.uint8)
    padded[padding : padding + height, padding : padding + width] = image
    cut = padded[padding + down :, padding + right :][:height, :width].copy()
    cut[top : top + erased_height, left : left + erased_width] = ERASING_PIXEL
    return cut


def test_pixels_are_those_of_a_naive_loop() -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (5, 32, 16, 3), dtype=np.uint8)
    indices = np.array([4, 0, 0, 2, 1, 3, 3, 4])
    augmentation = Augmentation(padding_px=6)
    values = draw(len(indices), 32, 16, augmentation, (3, 1)).values
    draws = torch.from_numpy(values)
    crops = erase(pick(torch.from_numpy(data), torch.from_numpy(indices), draws), draws)
    assert crops.shape == (8, 3, 32, 16)
    assert crops.dtype == torch.uint8
    assert crops.is_contiguous(memory_format=torch.channels_last)
    for crop, index, row in zip(crops, indices, values, strict=True):
        np.testing.assert_array_equal(crop.permute(1, 2, 0), naive_crop(data[index], row, 6))


def test_without_chance_a_crop_stays_as_it_is() -> None:
    data = torch.randint(0, 256, (3, 32, 16, 3), dtype=torch.uint8)
    still = Augmentation(flip_probability=0.0, padding_px=0, erase_probability=0.0)
    draws = draw(3, 32, 16, still, (0,))
    assert isinstance(draws, Draws)
    values = torch.from_numpy(draws.values)
    crops = erase(pick(data, torch.arange(3), values), values)
    assert torch.equal(crops, data.permute(0, 3, 1, 2))


def test_the_same_seed_decides_the_same() -> None:
    first, again, other = (
        draw(4, 64, 32, Augmentation(), seed).values for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def picture(height: int = 32, width: int = 16, count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (count, 3, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def test_what_is_new_is_off_by_default_and_leaves_the_old_parameters_alone() -> None:
    plain = draw(6, 64, 32, Augmentation(), (1, 2), unlabelled=6)
    assert (plain.zooms, plain.colours, plain.contrasts, plain.cuts) == (None, None, None, None)
    more = Augmentation(zoom=0.2, brightness=0.3, hue=0.1, compose_probability=0.5)
    varied = draw(6, 64, 32, more, (1, 2), unlabelled=6)
    np.testing.assert_array_equal(plain.values, varied.values)


def test_a_colour_matrix_without_change_is_the_identity() -> None:
    still = draw_colours(3, Augmentation(), np.random.default_rng(0))
    np.testing.assert_allclose(still, np.tile(np.eye(3), (3, 1, 1)), atol=1e-6)
    crops = picture()
    assert torch.equal(recolour(crops, torch.eye(3).repeat(4, 1, 1), torch.ones(4)), crops)


def test_hue_and_saturation_keep_grey_and_luminance() -> None:
    augmentation = Augmentation(hue=0.5, saturation=0.9)
    colours = draw_colours(50, augmentation, np.random.default_rng(0))
    np.testing.assert_allclose(colours @ np.ones(3), np.ones((50, 3)), atol=1e-5)
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(luma @ colours, np.tile(luma, (50, 1)), atol=1e-5)


def test_brightness_scales_grey_within_its_range() -> None:
    colours = draw_colours(500, Augmentation(brightness=0.3), np.random.default_rng(0))
    factors = (colours @ np.ones(3))[:, 0]
    assert 0.7 <= factors.min() < 0.72
    assert 1.28 < factors.max() <= 1.3


def test_a_grey_crop_has_three_equal_channels() -> None:
    colours = draw_colours(4, Augmentation(grey_probability=1.0), np.random.default_rng(0))
    grey = recolour(picture(), torch.from_numpy(colours), torch.ones(4))
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_shuffled_channels_are_those_of_the_crop_in_another_order() -> None:
    colours = draw_colours(4, Augmentation(shuffle_probability=1.0), np.random.default_rng(3))
    crops = picture()
    shuffled = recolour(crops, torch.from_numpy(colours), torch.ones(4))
    assert torch.equal(shuffled.sort(dim=1).values, crops.sort(dim=1).values)
    assert not torch.equal(shuffled, crops)


def test_contrast_moves_colours_from_the_mean_of_the_crop() -> None:
    crops = (picture().float() / 4 + 96).to(torch.uint8)
    harder = recolour(crops, torch.eye(3).repeat(4, 1, 1), torch.full((4,), 1.5))
    mean = crops.float().mean(dim=(1, 2, 3), keepdim=True)
    expected = (1.5 * (crops.float() - mean) + mean).round().clamp(0, 255)
    torch.testing.assert_close(harder.float(), expected, atol=1.0, rtol=0)


def test_only_the_asked_share_of_crops_changes_colour() -> None:
    some = Augmentation(brightness=0.3, recolour_probability=0.25)
    colours = draw(4000, 8, 8, some, (0,)).colours
    assert colours is not None
    unchanged = (colours == np.eye(3, dtype=np.float32)).all(axis=(1, 2))
    assert unchanged.mean() == pytest.approx(0.75, abs=0.03)


def test_zoom_enlarges_about_the_middle_and_leaves_black_outside() -> None:
    data = torch.full((1, 32, 16, 3), 200, dtype=torch.uint8)
    still = torch.zeros(1, 7, dtype=torch.int64)
    smaller = pick(data, torch.zeros(1, dtype=torch.int64), still, torch.tensor([0.5]))
    assert smaller[0, 0].count_nonzero() == 16 * 8
    assert smaller[0, 0, 8:24, 4:12].min() == 200
    larger = pick(data, torch.zeros(1, dtype=torch.int64), still, torch.tensor([1.5]))
    assert larger.min() == 200


def test_a_composed_crop_has_the_head_of_one_and_the_feet_of_the_next() -> None:
    crops = picture(count=5)
    cuts = torch.tensor([1.0, 1.0, 0.5, 1.0, 0.25])
    composed = compose(crops, cuts, 3)
    assert torch.equal(composed[:2], crops[:2]), "labelled crops stay"
    assert torch.equal(composed[2, :, :16], crops[2, :, :16])
    assert torch.equal(composed[2, :, 16:], crops[4, :, 16:])
    assert torch.equal(composed[3], crops[3])
    assert torch.equal(composed[4, :, 8:], crops[3, :, 8:])


@pytest.mark.parametrize("name", ["hue", "brightness", "zoom", "compose_probability"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_value_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=name):
        Augmentation(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("padding_px", -5),
        ("erase_area", (0.4, 0.02)),
        ("erase_area", (-0.1, 0.4)),
        ("erase_area", (0.02, 2.0)),
        ("erase_aspect", 0.0),
        ("erase_aspect", 3.0),
    ],
)
def test_a_margin_or_rectangle_that_cannot_be_drawn_is_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"augmentation.{name}"):
        Augmentation(**{name: value})  # type: ignore[arg-type]


def test_labelled_crops_may_keep_their_colours() -> None:
    settings = Augmentation(hue=0.5, contrast=0.3, keep_labelled_colours=True)
    draws = draw(8, 32, 16, settings, (0,), unlabelled=3)
    assert draws.colours is not None
    assert draws.contrasts is not None
    assert np.array_equal(draws.colours[:5], np.tile(np.eye(3, dtype=np.float32), (5, 1, 1)))
    assert np.all(draws.contrasts[:5] == 1)
    free = draw(8, 32, 16, Augmentation(hue=0.5, contrast=0.3), (0,), unlabelled=3)
    assert free.colours is not None
    assert np.array_equal(draws.colours[5:], free.colours[5:])
    assert not np.allclose(free.colours[:5], np.eye(3))
