"""`adln networks use` and `rollback`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adln.cli.main import adln
from adln.embedders.shipped import find_network, own_networks
from adln.errors import SettingsError
from adln.pipeline.depths import DepthEmbedder

MakeModel = Callable[..., Path]
SPACE = "ab" * 8


@pytest.fixture(autouse=True)
def own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def networks(*arguments: object) -> Result:
    return CliRunner().invoke(adln, ["networks", *map(str, arguments)])


def test_a_name_goes_from_one_network_to_the_next_and_back(make_model: MakeModel) -> None:
    files = [make_model(f"{at}.onnx", spaces=(SPACE,)) for at in range(3)]
    for path in (*files, files[2]):
        assert networks("use", path, "--name", "site").exit_code == 0
        assert find_network("site") == path
    # What the settings of a watch name, it opens.
    assert DepthEmbedder([Path("site")]).file_of(2)[0] == files[2]
    for path in files[1::-1]:
        assert f"site: {path} again" in networks("rollback", "site").output
        assert find_network("site") == path
    result = networks("rollback", "site")
    assert isinstance(result.exception, SettingsError)
    assert "no other network before" in str(result.exception)
    assert find_network("site") == files[0]


def test_a_network_of_another_space_is_refused_unless_it_is_wanted(make_model: MakeModel) -> None:
    old, new = make_model("old.onnx", spaces=(SPACE,)), make_model("new.onnx", spaces=("cd" * 8,))
    networks("use", old, "--name", "site")
    result = networks("use", new, "--name", "site")
    assert "galleries would have to be made anew" in str(result.exception)
    assert own_networks()["site"] == old
    assert networks("use", new, "--name", "site", "--new-space").exit_code == 0
    assert own_networks()["site"] == new


def test_a_network_that_is_gone_is_not_rolled_back_to(make_model: MakeModel) -> None:
    old, new = (make_model(f"{name}.onnx", spaces=(SPACE,)) for name in ("old", "new"))
    for path in (old, new):
        networks("use", path, "--name", "site")
    old.unlink()
    result = networks("rollback", "site")
    assert "not there any more" in str(result.exception)
    assert own_networks()["site"] == new
