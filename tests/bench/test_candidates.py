import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adln.bench.candidates import OnnxCandidate, OpenVinoCandidate, open_peer
from adln.bench.kernels import one_operator
from adln.errors import ModelFileError, SettingsError

MakeModel = Callable[..., Path]


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """A foreign network: one convolution on one crop of floats."""
    x = np.zeros((1, 3, 32, 16), dtype=np.float32)
    w = np.zeros((4, 3, 3, 3), dtype=np.float32)
    path = tmp_path / "peer.onnx"
    path.write_bytes(
        one_operator("Conv", x, {"w": w}, y_type=1, y_shape=(1, 4, 32, 16), pads=(1, 1, 1, 1))
    )
    return path


def test_own_files_bring_the_facts_of_their_manifest(make_model: MakeModel) -> None:
    path = make_model("res2.onnx", says={"precision": "int8"})
    facts = OnnxCandidate(path, threads=1, own=True).facts
    assert (facts.name, facts.precision, facts.is_own) == ("res2", "int8", True)
    assert facts.macs == 96 * 16
    assert facts.file_bytes == path.stat().st_size


def test_own_files_run_at_any_batch(make_model: MakeModel) -> None:
    candidate = OnnxCandidate(make_model(), threads=1, own=True)
    for batch in (1, 8):
        run = candidate.build_run(batch)
        assert run is not None
        answers = run()
        assert isinstance(answers, list)
        assert [answer.shape for answer in answers] == [(batch, 16)]


def test_a_foreign_file_is_only_taken_as_peer(peer: Path) -> None:
    with pytest.raises(ModelFileError, match="without the manifest"):
        OnnxCandidate(peer, threads=1, own=True)
    facts = open_peer(peer, threads=1).facts
    assert (facts.precision, facts.is_own, facts.macs) == ("fp32", False, 32 * 16 * 4 * 27)


def test_a_peer_of_fixed_batch_says_so(peer: Path) -> None:
    candidate = open_peer(peer, threads=1)
    assert candidate.build_run(1) is not None
    assert candidate.build_run(8) is None


def test_a_peer_of_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"ending in \.onnx or \.xml"):
        open_peer(tmp_path / "net.pth", threads=1)


def test_an_xml_peer_without_openvino_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SettingsError, match="needs openvino, which is not installed"):
        open_peer(tmp_path / "net.xml", threads=1)


def test_openvino_counts_and_computes_like_onnxruntime(peer: Path) -> None:
    candidate = OpenVinoCandidate(peer, threads=1, name="peer@openvino")
    assert candidate.facts.macs == open_peer(peer, threads=1).facts.macs
    assert (candidate.facts.name, candidate.facts.precision) == ("peer@openvino", "fp32")
    for batch in (1, 4):
        run = candidate.build_run(batch)
        assert run is not None
        run()


def test_a_damaged_xml_peer_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.xml").write_text("<net")
    with pytest.raises(ModelFileError, match=r"net\.xml: OpenVINO cannot read it"):
        open_peer(tmp_path / "net.xml", threads=1)
