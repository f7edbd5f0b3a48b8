"""A bridge is written where tracks that it was not fitted to are found better over it."""

from pathlib import Path

import numpy as np
import pytest
from tests.matching.drawn_site import draw_site

from adln.embeddings import unit_length
from adln.matching.adaptation import TrackedCrops
from adln.matching.bridge import bridge_path, read_bridge
from adln.matching.network_gate import compare_stored
from adln.site import bridging
from adln.site.bridging import write_if_better

EXITS = {"source": "a:2", "target": "b:2", "space": "s"}
Networks = tuple[TrackedCrops, TrackedCrops, np.ndarray]


@pytest.fixture(scope="module")
def two() -> Networks:
    """Crops as the new network sees them, as the old one does, and which of them judge."""
    new = draw_site(tracks=120, nuisance=0.02, common=0.1, noise=0.02, camera_bias=0.0).crops
    rng = np.random.default_rng(0)
    rows = new.embeddings
    dim = rows.shape[1]
    turned = rows + rows @ rng.standard_normal((dim, dim)).astype(np.float32) / np.sqrt(dim)
    light = rng.standard_normal((len(rows), 4)) @ rng.standard_normal((4, dim)) / np.sqrt(dim)
    old = unit_length(turned + 0.5 * light)
    numbers = new.track_numbers()
    return (
        TrackedCrops(old, new.cameras, new.tracks, new.time_s),
        new,
        numbers % 3 == 0,
    )


def test_it_helps_tracks_that_it_was_not_fitted_to(two: Networks, tmp_path: Path) -> None:
    network = tmp_path / "site.onnx"
    said = write_if_better(network, *two, **EXITS)
    assert said.startswith(str(bridge_path(network)))
    bridge = read_bridge(network, ["b:2"])
    assert (bridge.source, bridge.space) == ("a:2", "s")
    # In the end all tracks are fitted to.
    assert bridge.fitted_on.startswith(f"{len(two[0]):,} crops")


def test_none_is_written_that_gains_nothing(two: Networks, tmp_path: Path) -> None:
    _, new, is_judging = two
    said = write_if_better(tmp_path / "site.onnx", new, new, is_judging, **EXITS)
    assert said.startswith("none: no significant gain")
    assert not bridge_path(tmp_path / "site.onnx").exists()


def test_it_needs_no_package_that_clusters(
    two: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridging.importlib.util, "find_spec", lambda _: None)
    write_if_better(tmp_path / "site.onnx", *two, **EXITS)
    assert bridge_path(tmp_path / "site.onnx").exists()


def test_who_comes_back_elsewhere_tells_where_crops_of_one_track_are_all_found(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    people, dim, traits = 150, 1000, 16
    trait = rng.standard_normal((people, traits)) / np.sqrt(traits)
    # Each network has its own directions for what makes a person.
    was, person = (trait @ rng.standard_normal((traits, dim)) for _ in range(2))
    moment = rng.standard_normal((2, people, 1, dim))  # what all crops of a track share
    noise = 0.1 * rng.standard_normal((2, people, 2, dim))
    then = unit_length((was + (moment + noise).swapaxes(1, 2)).reshape(-1, dim))
    now = unit_length((2 * person + (0.7 * moment + noise).swapaxes(1, 2)).reshape(-1, dim))
    numbers = np.tile(np.arange(people), 4)
    cameras = np.repeat([0, 1], 2 * people)
    old, new = (TrackedCrops(rows, cameras, numbers + 1000 * cameras) for rows in (then, now))
    is_judging = numbers % 3 == 0
    in_tracks = compare_stored(old.part(is_judging), new.part(is_judging), new.part(is_judging))
    assert in_tracks == (1.0, 1.0, False)
    write_if_better(tmp_path / "site.onnx", old, new, is_judging, **EXITS)
    assert bridge_path(tmp_path / "site.onnx").exists()
    nobody = rng.permuted(then, axis=1)
    against = TrackedCrops(nobody, cameras, numbers + 1000 * cameras)
    write_if_better(tmp_path / "other.onnx", against, new, is_judging, **EXITS)
    assert not bridge_path(tmp_path / "other.onnx").exists()
