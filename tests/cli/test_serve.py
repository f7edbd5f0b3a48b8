import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from adln.cli.serve import serve
from adln.embedders.shipped import find_network
from adln.embeddings import unit_length
from adln.errors import SettingsError
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery


def test_without_its_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(serve, [])
    assert isinstance(result.exception, SettingsError)
    assert 'pip install ".[serve]"' in str(result.exception)


def test_a_gallery_of_another_network_is_refused(tmp_path: Path) -> None:
    key = ModelKey("e" * 64, 2, 8)
    embedding = unit_length(np.ones(8))
    with SqliteGallery(tmp_path, create=True) as gallery:
        gallery.add([Sighting(embedding=embedding, model=key, camera_id=0, time_s=0.0)])
    options = ["--gallery", str(tmp_path), "--network", str(find_network("res1"))]
    options += ["--port", "0"]
    result = CliRunner().invoke(serve, options)
    assert isinstance(result.exception, SettingsError)
    assert "eeeeeeeeeeee" in str(result.exception)


def test_cameras_that_cannot_be_read_of_are_said_before_anything_is_served(tmp_path: Path) -> None:
    options = ["--gallery", str(tmp_path / "gallery"), "--network", "", "--port", "0"]
    result = CliRunner().invoke(serve, [*options, "--watch", str(tmp_path / "none.toml")])
    assert isinstance(result.exception, SettingsError)
    assert "none.toml" in str(result.exception)
    assert not (tmp_path / "gallery").exists()


def test_a_demonstration_needs_a_network(tmp_path: Path) -> None:
    options = ["--demo", str(tmp_path / "demo"), "--network", "", "--port", "0"]
    result = CliRunner().invoke(serve, options)
    assert isinstance(result.exception, SettingsError)
    assert "--network" in str(result.exception)


def test_a_setting_that_does_not_exist_is_named() -> None:
    result = CliRunner().invoke(serve, ["--set", "prot=1"])
    assert isinstance(result.exception, SettingsError)
    assert "prot" in str(result.exception)
