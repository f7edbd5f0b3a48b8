"""A network of another make, small enough to know its answers."""

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx import NodeProto, TensorProto, helper
from tests.small_networks import make_model

__all__ = ["make_model"]

SIZE_PX = (32, 16)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def write_foreign(
    path: Path,
    *,
    batch: int | str = "n",
    more: Sequence[NodeProto] = (),
    outputs: Sequence[str] = ("features",),
    shape: Sequence[int | str] = (3, *SIZE_PX),
) -> Path:
    """A network whose embedding is the mean of each channel of its pixels.

    Args:
        path: of the file.
        batch: crops that it takes at a time.
        more: nodes, after those that give "features".
        outputs: of all nodes, the first as the embedding.
        shape: of one crop.
    """
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["means"]),
            helper.make_node("Flatten", ["means"], ["features"]),
            *more,
        ],
        "means",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info(one, TensorProto.FLOAT, None) for one in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Such a network, and a list of own networks that nobody else sees."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return write_foreign(tmp_path / "means.onnx")
