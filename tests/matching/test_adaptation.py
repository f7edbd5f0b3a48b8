import io
from dataclasses import replace

import numpy as np
import pytest
from tests.matching.drawn_site import draw_site

from adln.errors import SettingsError
from adln.matching.adaptation import (
    Method,
    TrackedCrops,
    adaptation_bytes,
    fit_adaptation,
    parse_adaptation,
)

MEANS = Method(name="camera means", by_camera=True)
WHITENED = Method(name="whitened", by_camera=True, whitening=1.0)
SCALED = Method(name="deviations", by_camera=True, deviations=True)


def test_camera_means_are_gone_and_lengths_are_one():
    crops = draw_site(camera_bias=1.0).crops
    adapted = fit_adaptation(crops, MEANS).apply(crops.embeddings, crops.cameras)
    np.testing.assert_allclose(np.linalg.norm(adapted, axis=1), 1, rtol=1e-5)
    for camera in (0, 1):
        before = np.linalg.norm(crops.embeddings[crops.cameras == camera].mean(axis=0))
        assert np.linalg.norm(adapted[crops.cameras == camera].mean(axis=0)) < before / 5


def test_whitening_evens_out_the_spread_within_tracks():
    crops = draw_site(nuisance=1.5).crops

    def unevenness(embeddings):
        numbers = crops.track_numbers()
        means = np.stack([embeddings[numbers == n].mean(axis=0) for n in range(numbers.max() + 1)])
        values = np.linalg.eigvalsh(np.cov((embeddings - means[numbers]).T))
        return values[-1] / values.mean()

    plain = fit_adaptation(crops, MEANS).apply(crops.embeddings, crops.cameras)
    white = fit_adaptation(crops, WHITENED).apply(crops.embeddings, crops.cameras)
    assert unevenness(white) < 0.7 * unevenness(plain)


def test_a_long_track_counts_as_much_as_a_short_one():
    crops = draw_site().crops
    again = np.concatenate([np.arange(len(crops)), *[np.flatnonzero(crops.tracks == 0)] * 20])
    one, other = (fit_adaptation(each, MEANS) for each in (crops, crops.part(again)))
    np.testing.assert_allclose(one.means, other.means, atol=1e-6)


def test_the_mean_of_a_hundred_crops_is_nearly_that_of_all():
    site = draw_site(tracks=400, camera_bias=1.0)
    few = site.crops.part(site.crops.tracks % 400 < 25)
    assert np.count_nonzero(few.cameras == 0) == 100
    one, other = (fit_adaptation(crops, MEANS) for crops in (few, site.crops))
    distances = np.linalg.norm(one.means - other.means, axis=1)
    assert (distances < np.linalg.norm(other.means[0] - other.means[1]) / 4).all()


def test_a_camera_with_few_tracks_or_not_known_takes_the_mean_of_all():
    crops = draw_site(camera_bias=1.0).crops
    lonely = crops.part((crops.cameras == 0) | (crops.tracks % 60 < 5))
    adaptation = fit_adaptation(lonely, MEANS)
    assert adaptation.cameras.tolist() == [0]
    row = crops.embeddings[:1]
    expected = row - adaptation.mean
    expected /= np.linalg.norm(expected)
    for camera in (1, -1, 99):
        np.testing.assert_allclose(adaptation.apply(row, np.array([camera])), expected, atol=1e-6)


@pytest.mark.parametrize("method", [MEANS, WHITENED, SCALED], ids=lambda method: method.name)
def test_an_embedding_is_adapted_alike_alone_and_among_others(method):
    crops = draw_site().crops
    adaptation = fit_adaptation(crops, method)
    together = adaptation.apply(crops.embeddings, crops.cameras)
    for at in (0, 7, 100):
        part = slice(at, at + 1)
        alone = adaptation.apply(crops.embeddings[part], crops.cameras[part])
        np.testing.assert_array_equal(alone[0], together[at])


@pytest.mark.parametrize("method", [MEANS, WHITENED, SCALED], ids=lambda method: method.name)
def test_its_bytes_hold_the_adaptation_bit_for_bit(method):
    crops = draw_site().crops
    adaptation = fit_adaptation(crops, method, space="abc", fitted_on="a drawn site")
    read = parse_adaptation(adaptation_bytes(adaptation), name="site")
    assert read.id == adaptation.id
    assert (read.method, read.space, read.fitted_on) == (method.name, "abc", "a drawn site")
    np.testing.assert_array_equal(
        read.apply(crops.embeddings, crops.cameras),
        adaptation.apply(crops.embeddings, crops.cameras),
    )


def test_the_id_changes_with_every_part():
    adaptation = fit_adaptation(draw_site().crops, WHITENED)
    changed = [
        replace(adaptation, space="other"),
        replace(adaptation, mean=adaptation.mean + 1),
        replace(adaptation, matrix=None),
    ]
    assert len({one.id for one in (adaptation, *changed)}) == 4


def saved(**parts: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **parts)
    return file.getvalue()


def test_changed_or_foreign_bytes_are_refused():
    with pytest.raises(SettingsError, match="fit again"):
        parse_adaptation(b"nothing of the kind", name="site")
    adaptation = fit_adaptation(draw_site().crops, MEANS)
    with np.load(io.BytesIO(adaptation_bytes(adaptation))) as content:
        parts = dict(content)
    changed = saved(**{**parts, "mean": parts["mean"] + 1})
    with pytest.raises(SettingsError, match="does not match its id"):
        parse_adaptation(changed, name="site")
    later = saved(**{**parts, "about": np.array('{"format": "adln-adaptation-9"}')})
    with pytest.raises(SettingsError, match="adaptation-9"):
        parse_adaptation(later, name="site")


def test_what_does_not_fit_is_refused():
    crops = draw_site().crops
    adaptation = fit_adaptation(crops, MEANS)
    with pytest.raises(SettingsError, match="another network"):
        adaptation.apply(np.ones((2, 3), np.float32), np.zeros(2, np.int64))
    with pytest.raises(SettingsError, match=r"need \d+ cameras"):
        adaptation.apply(crops.embeddings, np.zeros(2, np.int64))
    with pytest.raises(SettingsError, match="there are none"):
        fit_adaptation(crops.part(np.zeros(0, np.int64)), MEANS)
    with pytest.raises(SettingsError, match=r"\(N,\) cameras"):
        TrackedCrops(crops.embeddings, crops.cameras[:3], crops.tracks)
    with pytest.raises(SettingsError, match="not finite"):
        TrackedCrops(crops.embeddings * np.nan, crops.cameras, crops.tracks)
