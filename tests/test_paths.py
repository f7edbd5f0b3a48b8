"""What the pages hand paths to takes them as text, too."""

from pathlib import Path

import numpy as np
import pytest

from adln.embedders.session import open_session
from adln.embedders.shipped import find_network
from adln.errors import DatasetError
from adln.features import Features, FeatureSource, read_features, write_features
from adln.matching.calibration import read_calibration
from adln.pipeline.outbox import Outbox
from adln.scenes.walking_scene import read_truth


def test_features_are_read_from_a_path_in_text(tmp_path: Path) -> None:
    source = FeatureSource(2, False, "a" * 64, "b" * 64, "int8", "0.1.0")
    written = Features(("anna.jpg",), np.ones((1, 4), np.float32), source)
    write_features(written, tmp_path / "people.npz")
    assert read_features(str(tmp_path / "people.npz")).paths == ("anna.jpg",)


def test_a_calibration_is_read_from_a_path_in_text() -> None:
    network = str(find_network("res1"))
    assert read_calibration(network, model_sha256=open_session(network).sha256) is not None


def test_the_truth_of_a_scene_is_looked_for_under_a_path_in_text(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        read_truth(str(tmp_path))


def test_an_outbox_is_made_at_a_path_in_text(tmp_path: Path) -> None:
    Outbox(str(tmp_path / "outbox.db"), ["file"]).close()
    assert (tmp_path / "outbox.db").exists()
