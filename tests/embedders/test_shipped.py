"""The networks that come with the package."""

from pathlib import Path

import numpy as np
import pytest

from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.session import open_session
from adln.embedders.shipped import FOLDER, SHIPPED, TRACKING, find_network

LARGEST_BYTES = 8_000_000


@pytest.mark.parametrize("name", [*SHIPPED, TRACKING])
def test_a_shipped_network_embeds_by_its_name(name: str) -> None:
    embedder = OnnxEmbedder(name, threads=1)
    crops = np.random.default_rng(0).integers(0, 256, (2, *embedder.crop_size, 3), dtype=np.uint8)
    embeddings = embedder.embed(crops)[int(name[3])]
    assert embeddings.shape == (2, 256)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", [*SHIPPED, TRACKING])
def test_a_shipped_network_says_what_it_is(name: str) -> None:
    model = open_session(name)
    assert model.manifest.depths == (int(name[3]),)
    assert "research" in model.manifest.licence
    assert model.manifest.training_data
    assert model.manifest.accuracy
    assert model.manifest.parity
    # The card speaks of this very file.
    assert model.sha256 in (FOLDER / "README.md").read_text()


def test_the_shipped_networks_share_a_space() -> None:
    spaces = {open_session(name).manifest.spaces for name in [*SHIPPED, TRACKING]}
    assert len(spaces) == 1
    assert all(spaces.pop())


def test_the_shipped_networks_are_small() -> None:
    assert sum(find_network(name).stat().st_size for name in [*SHIPPED, TRACKING]) <= LARGEST_BYTES


def test_a_file_of_the_same_name_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_network("res2") == FOLDER / "res2.onnx"
    Path("res2").touch()
    assert find_network("res2") == Path("res2")
    assert find_network("elsewhere.onnx") == Path("elsewhere.onnx")
