"""Whose home is unknown or out of reach can do all that needs no home."""

from pathlib import Path

import pytest

from adln.atomic import is_there, user_folder
from adln.cameras.finding import PeopleFinder
from adln.cli.watch import have_detector
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network, name_network
from adln.errors import ModelFileError, SettingsError
from adln.matching.calibration import read_calibration
from adln.service.frames import open_finder


@pytest.fixture
def without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a number without a name, such as `docker run --user 12345`."""

    def nobody(number: int) -> None:
        raise KeyError(number)

    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)


@pytest.mark.usefixtures("without_a_home")
def test_who_has_no_home_has_the_root_folder() -> None:
    assert user_folder("cache") == Path("/.cache/adln")
    assert user_folder("config") == Path("/.config/adln")


# No folder can be looked for under so long a name, whoever looks; nobody but root is kept out by
# permissions, and tests may be run by root.
UNREACHABLE = Path("/" + "x" * 300)


def test_what_cannot_be_looked_for_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert is_there(tmp_path / "file")
    assert not is_there(tmp_path / "missing")
    assert not is_there(UNREACHABLE / "file")


@pytest.mark.parametrize("home", ["none", "somebody else's"])
def test_a_network_answers_and_is_judged_whatever_the_home(
    home: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADLN_DETECTOR", raising=False)
    if home == "none":
        request.getfixturevalue("without_a_home")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(UNREACHABLE))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(UNREACHABLE))
    network = OnnxEmbedder(find_network("res1"))
    assert read_calibration(network.model.path, model_sha256=network.model.sha256) is not None
    assert find_network("nobody's") == Path("nobody's")
    assert open_finder() is None
    with pytest.raises(SettingsError, match=r"--detector FILE, or the variable ADLN_DETECTOR"):
        have_detector(yes=False)
    with pytest.raises(ModelFileError, match="finding people needs a detector"):
        PeopleFinder()


def test_a_list_of_networks_that_cannot_be_kept_says_where_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(UNREACHABLE))
    with pytest.raises(SettingsError, match=r"cannot be written .* Set XDG_CONFIG_HOME"):
        name_network("mine", tmp_path / "mine.onnx")
