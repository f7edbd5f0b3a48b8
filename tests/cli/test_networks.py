"""`adln networks use` and `rollback`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from adln.cli.main import adln
from adln.embedders.session import open_session
from adln.embedders.shipped import find_network, own_networks
from adln.errors import GalleryError, SettingsError
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.bridge import Bridge, bridge_path, exit_name, write_bridge
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
    assert "galleries would have to be rebuilt" in str(result.exception)
    assert own_networks()["site"] == old
    assert networks("use", new, "--name", "site", "--new-space").exit_code == 0
    assert own_networks()["site"] == new


def test_a_network_that_is_gone_is_not_rolled_back_to(make_model: MakeModel) -> None:
    old, new = (make_model(f"{name}.onnx", spaces=(SPACE,)) for name in ("old", "new"))
    for path in (old, new):
        networks("use", path, "--name", "site")
    old.unlink()
    result = networks("rollback", "site")
    assert "no longer exists" in str(result.exception)
    assert own_networks()["site"] == new


@pytest.fixture
def swapped(make_model: MakeModel, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A network, another with a bridge from it, and a gallery of the first one's embeddings."""
    # Their files differ, by which networks are told apart.
    old, new = (
        make_model(f"{name}.onnx", spaces=(SPACE,), licence=name) for name in ("old", "new")
    )
    models = [open_session(path) for path in (old, new)]
    keys = [ModelKey(one.sha256, one.manifest.depths[0], one.manifest.dim, SPACE) for one in models]
    dim = keys[0].dim
    bridge = Bridge(
        source=exit_name(*keys[0].exit),
        target=exit_name(*keys[1].exit),
        space=SPACE,
        fitted_on="nobody",
        mean=np.zeros(dim, np.float32),
        matrix=np.roll(np.eye(dim, dtype=np.float32), 1, axis=0),
        offset=np.zeros(dim, np.float32),
    )
    write_bridge(bridge, new)
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        person = gallery.enrol("Noor")
        gallery.add(
            [
                Sighting(embedding=row, model=keys[0], camera_id=0, time_s=1.0, person_id=person)
                for row in np.eye(dim, dtype=np.float32)[:3]
            ]
        )
    networks("use", old, "--name", "site")
    return old, new, tmp_path / "gallery"


def test_what_is_stored_is_carried_over_with_the_name_and_back_with_it(
    swapped: tuple[Path, Path, Path],
) -> None:
    old, new, folder = swapped
    result = networks("use", new, "--name", "site", "--gallery", folder)
    assert "3 sightings are compared" in result.output, result
    assert find_network("site") == new
    with SqliteGallery(folder) as gallery:
        assert len(gallery.bridges) == 1
        assert [one.name for one in gallery.persons()] == ["Noor"]
    result = networks("rollback", "site", "--gallery", folder)
    assert "1 bridge removed" in result.output, result
    assert find_network("site") == old
    with SqliteGallery(folder) as gallery:
        assert gallery.bridges == ()


def test_a_bridge_that_cannot_be_built_leaves_the_name_where_it_was(
    swapped: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    old, new, folder = swapped
    with SqliteGallery(tmp_path / "empty", create=True):
        pass
    result = networks("use", new, "--name", "site", "--gallery", tmp_path / "empty")
    assert isinstance(result.exception, GalleryError)
    bridge_path(new).unlink()
    result = networks("use", new, "--name", "site", "--gallery", folder)
    assert "there is no such bridge" in str(result.exception)
    assert find_network("site") == old


def test_a_gallery_keeps_its_bridge_where_there_is_no_network_to_go_back_to(
    swapped: tuple[Path, Path, Path],
) -> None:
    _, new, folder = swapped
    networks("use", new, "--name", "other", "--gallery", folder)
    result = networks("rollback", "other", "--gallery", folder)
    assert "no other network before" in str(result.exception)
    with SqliteGallery(folder) as gallery:
        assert len(gallery.bridges) == 1


def test_a_damaged_list_of_earlier_networks_is_kept_and_said(
    make_model: MakeModel, tmp_path: Path
) -> None:
    files = [make_model(f"{at}.onnx", spaces=(SPACE,)) for at in range(3)]
    for path in files[:2]:
        networks("use", path, "--name", "site")
    (damaged,) = tmp_path.rglob("networks-before.json")
    damaged.write_text('{"site": ["/some')
    for result in (networks("use", files[2], "--name", "site"), networks("rollback", "site")):
        assert isinstance(result.exception, SettingsError)
        assert "move it away" in str(result.exception)
    assert damaged.read_text() == '{"site": ["/some'
    assert own_networks()["site"] == files[1]
    damaged.unlink()
    assert networks("use", files[2], "--name", "site").exit_code == 0
