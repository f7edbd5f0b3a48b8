from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adln.bench.kernels import build_kernels, one_operator
from adln.bench.operations import (
    Operations,
    count_operations,
    profile_nodes,
    seconds_before_first_convolution,
)
from adln.errors import ModelFileError

MakeModel = Callable[..., Path]


def test_a_convolution_counts_outputs_times_weights_of_one(tmp_path: Path) -> None:
    x = np.zeros((1, 4, 10, 6), dtype=np.float32)
    w = np.zeros((8, 4, 3, 3), dtype=np.float32)
    path = tmp_path / "conv.onnx"
    path.write_bytes(
        one_operator("Conv", x, {"w": w}, y_type=1, y_shape=(1, 8, 10, 6), pads=(1, 1, 1, 1))
    )
    assert count_operations(path, {"x": x}) == Operations(macs=10 * 6 * 8 * 4 * 9, quantised=False)


def test_a_quantised_convolution_is_counted_and_known_as_such(tmp_path: Path) -> None:
    x = np.zeros((1, 4, 10, 6), dtype=np.uint8)
    constants = {
        "x_scale": np.float32(1),
        "x_zero": np.uint8(0),
        "w": np.zeros((8, 4, 3, 3), dtype=np.int8),
        "w_scale": np.float32(1),
        "w_zero": np.int8(0),
        "y_scale": np.float32(1),
        "y_zero": np.uint8(0),
    }
    path = tmp_path / "conv.onnx"
    path.write_bytes(
        one_operator(
            "QLinearConv", x, constants, y_type=2, y_shape=(1, 8, 10, 6), pads=(1, 1, 1, 1)
        )
    )
    assert count_operations(path, {"x": x}) == Operations(macs=10 * 6 * 8 * 4 * 9, quantised=True)


def test_kernels_say_of_themselves_what_is_counted(tmp_path: Path) -> None:
    product = next(kernel for kernel in build_kernels() if kernel.name == "matrix product")
    x = np.zeros((512, 512), dtype=np.float32)
    path = tmp_path / "product.onnx"
    path.write_bytes(one_operator("MatMul", x, {"w": x}, y_type=1, y_shape=x.shape))
    assert 2 * count_operations(path, {"x": x}).macs == product.operations


def test_nodes_are_told_in_order_and_by_run(make_model: MakeModel) -> None:
    crops = np.zeros((1, 256, 128, 3), dtype=np.uint8)
    nodes = profile_nodes(make_model(), {"crops": crops}, optimise=False, runs=2)
    names = [node["op_name"] for node in nodes]
    assert names[: len(names) // 2] == names[len(names) // 2 :]
    assert names[0] == "Cast"
    assert [node["op_name"] for node in nodes if node["starts_run"]] == ["Cast", "Cast"]
    assert count_operations(make_model(), {"crops": crops}).macs == 96 * 16


def test_a_network_without_convolution_has_nothing_before_it(make_model: MakeModel) -> None:
    crops = np.zeros((1, 256, 128, 3), dtype=np.uint8)
    assert seconds_before_first_convolution(make_model(), {"crops": crops}, runs=2) == 0


def test_a_file_that_does_not_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ModelFileError, match=r"bad\.onnx: onnxruntime cannot run it"):
        count_operations(tmp_path / "bad.onnx", {})
