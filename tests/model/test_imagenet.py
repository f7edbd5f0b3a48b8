"""The ImageNet start: what is covered, what stays random, what is refused."""

import hashlib
import io
import urllib.request
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from adln.errors import CheckpointError
from adln.model.imagenet import load_imagenet
from adln.model.network import ADLN, Architecture, build_network


def torchvision_names(network: ADLN) -> dict[str, Tensor]:
    """The backbone of a network under the names of torchvision's resnet50."""
    return {
        name.replace("stem.", "").replace("stages.", "layer"): tensor.clone()
        for name, tensor in network.state_dict().items()
        if name.startswith(("stem", "stages"))
    }


@pytest.fixture
def donor() -> ADLN:
    return build_network(Architecture(num_classes=2, exits=(2,)), seed=1)


@pytest.fixture
def network() -> ADLN:
    return build_network(Architecture(num_classes=4, exits=(1, 2)), seed=2)


def test_a_state_dict_covers_the_backbone(donor: ADLN, network: ADLN, tmp_path: Path) -> None:
    path = tmp_path / "resnet50.pth"
    torch.save({**torchvision_names(donor), "fc.weight": torch.zeros(1000, 2048)}, path)
    start = load_imagenet(network, str(path))
    assert start.covered == ("stem", "stages.1", "stages.2")
    assert start.random == ("exits.1", "exits.2")
    for name, tensor in donor.state_dict().items():
        if name.startswith(("stem", "stages")):
            assert torch.equal(network.state_dict()[name], tensor)


def test_a_missing_stage_is_named_and_stays_random(
    donor: ADLN, network: ADLN, tmp_path: Path
) -> None:
    path = tmp_path / "prefix.safetensors"
    tensors = {n: t for n, t in torchvision_names(donor).items() if not n.startswith("layer2")}
    save_file(tensors, path)
    before = network.stages["2"][0].conv1.weight.clone()
    start = load_imagenet(network, str(path))
    assert "stages.2" in start.random
    assert "stages.2" in start.summary()
    assert torch.equal(network.stages["2"][0].conv1.weight, before)


def test_a_stage_that_is_there_in_part_is_refused(
    donor: ADLN, network: ADLN, tmp_path: Path
) -> None:
    path = tmp_path / "torn.safetensors"
    tensors = torchvision_names(donor)
    tensors.pop("layer1.0.conv2.weight")
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"only a part of \['stages.1'\]"):
        load_imagenet(network, str(path))


def test_weights_of_another_network_are_refused(donor: ADLN, network: ADLN, tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    tensors = torchvision_names(donor) | {"conv1.weight": torch.zeros(64, 3, 3, 3)}
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="Give ResNet-50 weights"):
        load_imagenet(network, str(path))
    save_file({"blocks.0.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="no tensor of a ResNet-50"):
        load_imagenet(network, str(path))


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_truncated_weights_are_refused(
    donor: ADLN, network: ADLN, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save(torchvision_names(donor), path)
    else:
        save_file(torchvision_names(donor), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="truncated") as caught:
        load_imagenet(network, str(path))
    assert "weights_only" not in str(caught.value)


def test_the_digest_is_checked(donor: ADLN, network: ADLN, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(torchvision_names(donor), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    load_imagenet(network, str(path), sha256=digest[:12])
    with pytest.raises(CheckpointError, match="another file or damaged"):
        load_imagenet(network, str(path), sha256="00" * 32)
    with pytest.raises(CheckpointError, match="at least 8 hex characters"):
        load_imagenet(network, str(path), sha256=digest[:4])


def test_a_url_needs_https_and_a_digest(network: ADLN) -> None:
    with pytest.raises(CheckpointError, match="only https"):
        load_imagenet(network, "http://example.org/a.pth", sha256="0" * 64)
    with pytest.raises(CheckpointError, match="needs a sha256"):
        load_imagenet(network, "https://example.org/a.pth")


def test_a_failed_download_says_what_to_do(network: ADLN, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Download it by other means"):
        load_imagenet(
            network, "https://localhost:9/a.pth", sha256="0" * 64, cache=tmp_path / "cache"
        )


def test_a_download_is_kept_and_checked_again(donor: ADLN, network: ADLN, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(torchvision_names(donor), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    url = "https://example.org/files/a.safetensors"
    assert load_imagenet(network, url, sha256=digest, cache=tmp_path).covered
    with pytest.raises(CheckpointError, match="another file or damaged"):
        load_imagenet(network, url, sha256="12345678", cache=tmp_path)


class Response(io.BytesIO):
    """What a server sends; it breaks off after the first piece if told so."""

    breaks = False

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        if self.breaks and not piece:
            raise TimeoutError("timed out")
        return piece


@pytest.mark.parametrize("breaks", [True, False])
def test_a_download_that_fails_leaves_nothing_behind(
    network: ADLN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    response = Response(b"half of the weights")
    response.breaks = breaks
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: response)
    expected = "timed out.* Download it by other means" if breaks else "another file or damaged"
    with pytest.raises(CheckpointError, match=expected):
        load_imagenet(
            network, "https://example.org/a.pth", sha256="0" * 64, cache=tmp_path / "cache"
        )
    assert list((tmp_path / "cache").iterdir()) == []


def test_downloads_go_where_the_user_keeps_caches(
    donor: ADLN, network: ADLN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(torchvision_names(donor), tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Response(content))
    digest = hashlib.sha256(content).hexdigest()
    assert load_imagenet(network, "https://example.org/b.safetensors", sha256=digest).covered
    kept = [path.name for path in (tmp_path / "cache" / "adln").iterdir()]
    assert kept == ["b.safetensors"]
