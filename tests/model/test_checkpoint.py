"""Networks on disk: what is written comes back; what is damaged is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adln.errors import CheckpointError
from adln.model.checkpoint import load_network, read_provenance, save_network
from adln.model.network import ADLN, Architecture, build_network


@pytest.fixture(scope="module")
def network() -> ADLN:
    return build_network(Architecture(num_classes=3, exits=(1, 2)), seed=0).eval()


@pytest.fixture
def stored(network: ADLN, tmp_path: Path) -> Path:
    path = tmp_path / "network.safetensors"
    save_network(path, network, provenance={"data": "drawn people"})
    return path


def test_a_stored_network_comes_back_bit_for_bit(network: ADLN, stored: Path) -> None:
    again = load_network(stored)
    assert again.architecture == network.architecture
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    crops = torch.randint(0, 256, (1, 3, 64, 32), dtype=torch.uint8)
    with torch.inference_mode():
        expected, got = network(crops).exits[2].logits, again(crops).exits[2].logits
    assert torch.equal(expected, got)
    assert read_provenance(stored) == {"data": "drawn people"}


def test_exits_that_answer_together_come_back(tmp_path: Path) -> None:
    architecture = Architecture(num_classes=5, exits=(2, 3), summed_exits=(2, 3))
    save_network(tmp_path / "together.safetensors", build_network(architecture, seed=0))
    assert load_network(tmp_path / "together.safetensors").architecture == architecture
    last = load_network(tmp_path / "together.safetensors", exits=(3,)).architecture
    assert (last.exits, last.summed_exits) == ((3,), (2, 3))


def test_only_the_wanted_exits_are_kept(stored: Path) -> None:
    assert load_network(stored, exits=(1,)).architecture.exits == (1,)


def test_a_truncated_file_is_refused(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="truncated or not a safetensors file"):
        load_network(stored)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such weights file: .*nothing.safetensors"):
        load_network(tmp_path / "nothing.safetensors")


def test_foreign_weights_are_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="holds no adln network"):
        load_network(path)


def test_a_file_that_lost_a_tensor_is_refused(network: ADLN, stored: Path) -> None:
    from safetensors import safe_open

    with safe_open(stored, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(stored)
    tensors.pop("stem.conv1.weight")
    save_file(tensors, stored, metadata=header)
    with pytest.raises(CheckpointError, match=r"does not fit its own header.*stem.conv1.weight"):
        load_network(stored)


def test_a_failed_write_leaves_the_old_file(
    network: ADLN, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import adln.model.files

    before = stored.read_bytes()

    def disk_is_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adln.model.files, "save_file", disk_is_full)
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left"):
        save_network(stored, network)
    assert stored.read_bytes() == before
    assert [p.name for p in stored.parent.iterdir()] == [stored.name]
