"""A network of another make, small enough to know its answers."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

SIZE_PX = (32, 16)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def write_foreign(path: Path, *, batch: int | str = "n") -> Path:
    """A network whose embedding is the mean of each channel of its pixels, and a constant 1."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["means"]),
            helper.make_node("Flatten", ["means"], ["features"]),
        ],
        "means",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *SIZE_PX])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Such a network, and a list of own networks that nobody else sees."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return write_foreign(tmp_path / "means.onnx")
