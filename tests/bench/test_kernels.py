import numpy as np
import onnx

from adln.bench.kernels import build_kernels, one_operator


def test_there_is_a_convolution_and_a_product_in_each_precision() -> None:
    kernels = build_kernels()
    assert {(kernel.precision, kernel.name) for kernel in kernels} == {
        (precision, name)
        for precision in ("fp32", "int8")
        for name in ("convolution 3x3", "matrix product")
    }
    for kernel in kernels:
        kernel.run()


def test_operations_are_two_for_each_multiply_accumulate() -> None:
    counts = {kernel.name: kernel.operations for kernel in build_kernels()}
    assert counts["matrix product"] == 2 * 512**3
    assert counts["convolution 3x3"] == 2 * (32 * 16) * 256 * (256 * 3 * 3)


def test_a_model_written_by_hand_passes_the_checker_and_computes() -> None:
    import onnxruntime  # type: ignore[import-untyped]

    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 300), dtype=np.float32)
    w = rng.standard_normal((300, 2), dtype=np.float32)
    model = one_operator("MatMul", x, {"w": w}, y_type=onnx.TensorProto.FLOAT, y_shape=(3, 2))
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ w, rtol=1e-4, atol=1e-4)
