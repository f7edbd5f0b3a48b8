"""Exports from end to end: what is true is written, what is not leaves nothing."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from tests.export.conftest import trace_once

from adln.embedders.deeper import ChainedEmbedder
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.session import open_session
from adln.errors import AdlnError, CheckpointError, ExportError, ModelFileError, ParityError
from adln.export import exporting
from adln.export.calibration import choose_crops
from adln.export.exporting import ExportedFile, export_network
from adln.export.saturation import prove
from adln.export.spaces import name_space
from adln.manifest import PRECISIONS, Precision
from adln.model.checkpoint import save_network
from adln.model.embedder import TorchEmbedder
from adln.model.network import ADLN
from adln.pipeline.depths import DepthEmbedder
from adln.training.common_space import CommonSpace, with_common_space


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return choose_crops(None, height_px=64, width_px=32).gate[:9]


@pytest.fixture(scope="module", params=PRECISIONS)
def exported(
    request: pytest.FixtureRequest,
    network_path: Path,
    picture_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> ExportedFile:
    """Res1 in each precision."""
    precision: Precision = request.param
    out = tmp_path_factory.mktemp(precision) / "res1.onnx"
    (file,) = export_network(
        network_path,
        out,
        depths=(1,),
        precision=precision,
        calibrate=picture_folder,
        licence="CC0",
    )
    return file


@pytest.fixture
def first_stage_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights of two stages pass the gate of int8 only so: nothing else is tried before."""
    monkeypatch.setattr(exporting, "FLOAT_PARTS", exporting.FLOAT_PARTS[-1:])


def test_the_file_answers_like_torch(
    exported: ExportedFile, network: ADLN, crops: NDArray[np.uint8]
) -> None:
    expected = TorchEmbedder(network.cut(1), device="cpu", flip=False).embed(crops)[1]
    found = OnnxEmbedder(exported.path, threads=1).embed(crops)[1]
    least = {"fp32": 0.99999, "fp16": 0.995, "int8": 0.95}[exported.manifest.precision]
    assert (expected * found).sum(axis=1).min() > least


@pytest.mark.parametrize("precision", PRECISIONS)
def test_instance_norm_survives_every_precision(
    precision: Precision,
    instance_normed: ADLN,
    picture_folder: Path,
    crops: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    source = tmp_path / "normed.safetensors"
    save_network(source, instance_normed)
    out = tmp_path / "res1.onnx"
    (file,) = export_network(
        source, out, depths=(1,), precision=precision, calibrate=picture_folder
    )
    kinds = [node.op_type for node in ir.load(file.path).graph]
    assert kinds.count("InstanceNormalization") == 3  # the blocks of stage 1
    assert kinds.count("BatchNormalization") <= 1  # of the BNNeck; the others are folded
    expected = TorchEmbedder(instance_normed.cut(1), device="cpu", flip=False).embed(crops)[1]
    found = OnnxEmbedder(file.path, threads=1).embed(crops)[1]
    least = {"fp32": 0.99999, "fp16": 0.995, "int8": 0.95}[precision]
    assert (expected * found).sum(axis=1).min() > least


@pytest.mark.usefixtures("first_stage_in_float")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_depths_of_a_common_space_keep_it_in_every_precision(
    precision: Precision,
    network: ADLN,
    picture_folder: Path,
    crops: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = {depth: torch.randn(64, 2048, generator=generator) for depth in (1, 2)}
    aligned = with_common_space(network, CommonSpace(maps, torch.eye(3, 64)))
    source = tmp_path / "aligned.safetensors"
    save_network(source, aligned)
    (file,) = export_network(
        source,
        tmp_path / "both.onnx",
        depths=(1, 2),
        precision=precision,
        calibrate=picture_folder,
    )
    assert file.manifest.dim == 64
    assert len(set(file.manifest.spaces)) == 1
    expected = TorchEmbedder(aligned, device="cpu", flip=False).embed(crops)
    found = OnnxEmbedder(file.path, threads=1).embed(crops)
    for depth in (1, 2):
        assert found[depth].shape == (9, 64)
        assert (expected[depth] * found[depth]).sum(axis=1).min() > 0.95


def test_the_manifest_inside_has_origin_and_figures(
    exported: ExportedFile, network: ADLN, network_path: Path, picture_folder: Path
) -> None:
    manifest = open_session(exported.path).manifest
    assert manifest == exported.manifest
    assert manifest.depths == (1,)
    assert (manifest.height_px, manifest.width_px, manifest.dim) == (64, 32, 2048)
    fitted = " + folder" if manifest.precision == "int8" else ""
    assert manifest.training_data == f"made-up people{fitted}"
    assert manifest.licence == "CC0"
    # The same in every precision: embeddings of all three can be compared.
    assert manifest.spaces == (name_space(network, 1),)
    assert manifest.source_sha256 == hashlib.sha256(network_path.read_bytes()).hexdigest()
    assert [(row.depth, row.batch_size) for row in manifest.parity] == [(1, 1), (1, 7), (1, 32)]
    assert all(row.crops == 20 and row.mean > 0.99 for row in manifest.parity)
    wanted = f"40 crops of {picture_folder.name}" if manifest.precision == "int8" else ""
    assert manifest.calibration.startswith(wanted)


def test_a_device_is_tried_by_every_file_and_int8_is_proved(exported: ExportedFile) -> None:
    manifest = exported.manifest
    assert manifest.probe is not None
    assert OnnxEmbedder(exported.path, threads=1).verdict.proved
    if manifest.precision == "int8":
        assert manifest.pairs == prove(ir.load(exported.path))
        assert manifest.pairs.largest_sum <= 32767
    else:
        assert manifest.pairs is None


def test_int8_weights_that_can_overflow_are_not_written(
    network_path: Path, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "round_weights", lambda *_: None)
    with pytest.raises(ExportError, match="can overflow on processors"):
        export_network(
            network_path,
            tmp_path / "res1.onnx",
            depths=(1,),
            precision="int8",
            calibrate=picture_folder,
        )
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_left_in_the_folder(exported: ExportedFile) -> None:
    assert [path.name for path in exported.path.parent.iterdir()] == ["res1.onnx"]


def test_smaller_precision_makes_smaller_files(exported: ExportedFile) -> None:
    # Res1 has 0.48 million weights and 8,192 numbers of the BNNeck.
    most_kb = {"fp32": 2200, "fp16": 1200, "int8": 800}[exported.manifest.precision]
    assert exported.path.stat().st_size < 1000 * most_kb


def test_only_int8_is_laid_out_for_the_kernels_of_onnxruntime(exported: ExportedFile) -> None:
    laid_out = b"ReduceMean/MatMul" in exported.path.read_bytes()
    assert laid_out == (exported.manifest.precision == "int8")


def test_several_depths_share_a_file(
    network_path: Path,
    network: ADLN,
    picture_folder: Path,
    crops: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    (file,) = export_network(
        network_path, tmp_path / "both.onnx", depths=(2, 1), calibrate=picture_folder
    )
    found = OnnxEmbedder(file.path, threads=1).embed(crops)
    expected = TorchEmbedder(network, device="cpu", flip=False).embed(crops)
    for depth in (1, 2):
        np.testing.assert_allclose(found[depth], expected[depth], atol=1e-4)
        assert file.manifest.space_of(depth) == name_space(network, depth)


@pytest.mark.usefixtures("first_stage_in_float")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_split_files_go_on_from_each_others_maps(
    precision: Precision,
    network_path: Path,
    network: ADLN,
    picture_folder: Path,
    crops: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    files = export_network(
        network_path,
        tmp_path / "deeper.onnx",
        depths=(1, 2),
        precision=precision,
        calibrate=picture_folder,
        split_files=True,
    )
    assert ChainedEmbedder([file.path for file in files], batch_size=4).verdict.proved
    assert [file.path.name for file in files] == ["deeper-1.onnx", "deeper-2.onnx"]
    shallow, deep = (open_session(file.path) for file in files)
    assert (shallow.manifest.maps, deep.manifest.starts_after) == ((1,), 1)
    spaces = [file.manifest.spaces for file in (shallow, deep)]
    assert spaces == [(name_space(network, depth),) for depth in (1, 2)]
    kind = {"fp32": "tensor(float)", "int8": "tensor(uint8)"}[precision]
    assert deep.session.get_inputs()[0].type == kind
    assert {row.depth for row in deep.manifest.parity} == {2}
    found = ChainedEmbedder([file.path for file in files], batch_size=4).embed(crops)
    expected = TorchEmbedder(network, device="cpu", flip=False).embed(crops)
    least = {"fp32": 0.99999, "int8": 0.95}[precision]
    for depth in (1, 2):
        assert (found[depth] * expected[depth]).sum(axis=1).min() > least


# Deep random weights do not survive int8.
@pytest.mark.usefixtures("first_stage_in_float")
@pytest.mark.parametrize(
    ("depths", "precision"),
    [((1, 2, 3), "fp32"), ((1, 3), "fp32"), ((2, 3), "fp16"), ((1, 2), "int8")],
)
def test_exits_that_answer_together_do_so_across_split_files(
    depths: tuple[int, ...],
    precision: Precision,
    together: ADLN,
    together_path: Path,
    picture_folder: Path,
    crops: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    files = export_network(
        together_path,
        tmp_path / "out.onnx",
        depths=depths,
        precision=precision,
        calibrate=picture_folder,
        split_files=True,
    )
    assert [file.manifest.sums for file in files] == [
        *(file.manifest.maps for file in files[:1]),
        *((file.manifest.starts_after, *file.manifest.maps) for file in files[1:]),
    ]
    expected = TorchEmbedder(together, device="cpu", flip=False).embed(crops)
    paths = [file.path for file in files]
    chained = ChainedEmbedder(paths, batch_size=4).embed(crops)
    stepwise = DepthEmbedder(paths, batch_size=4).embed(crops, depths[-1])
    least = {"fp32": 0.99999, "fp16": 0.995, "int8": 0.95}[precision]
    for depth in depths:
        assert (chained[depth] * expected[depth]).sum(axis=1).min() > least
        np.testing.assert_allclose(stepwise[depth], chained[depth], atol=1e-5)


Breaking = Callable[[ADLN, ADLN, tuple[str, ...]], ir.Model]


def wrong_weights(_: ADLN, other: ADLN, names: tuple[str, ...]) -> ir.Model:
    return trace_once(other.cut(1), names)


def wrong_normalisation(network: ADLN, _: ADLN, names: tuple[str, ...]) -> ir.Model:
    broken = network.cut(1)
    broken.mean = broken.mean.flip(1)  # blue for red
    broken.std = 0.9 * broken.std
    return trace_once(broken, names)


def batch_of_two_only(network: ADLN, _: ADLN, names: tuple[str, ...]) -> ir.Model:
    model = trace_once(network.cut(1), names)
    first = next(node for node in model.graph if node.op_type == "Reshape")
    shape = first.inputs[1]
    assert shape is not None
    assert shape.const_value is not None
    fixed = shape.const_value.numpy().copy()
    fixed[0] = 2
    shape.const_value = ir.tensor(fixed, name=shape.name)
    return model


def declared_batch_of_two(network: ADLN, _: ADLN, names: tuple[str, ...]) -> ir.Model:
    model = trace_once(network.cut(1), names)
    model.graph.inputs[0].shape = ir.Shape([2, 64, 32, 3])
    return model


def no_unit_length(network: ADLN, _: ADLN, names: tuple[str, ...]) -> ir.Model:
    model = trace_once(network.cut(1), names)
    divide = next(node for node in model.graph if node.outputs[0].name == "embedding")
    norm = divide.inputs[1]
    assert norm is not None
    divide.replace_input_with(1, ir.Value(name="one", const_value=ir.tensor(np.float32([2]))))
    model.graph.register_initializer(divide.inputs[1])  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize(
    ("breaking", "error", "complaint"),
    [
        (wrong_weights, ParityError, "least cosine"),
        (wrong_normalisation, ParityError, "least cosine"),
        (batch_of_two_only, ParityError, "batch 1"),
        (declared_batch_of_two, ModelFileError, "any batch size"),
        (no_unit_length, ParityError, "length 1"),
    ],
)
def test_a_broken_file_is_refused_and_leaves_nothing(
    breaking: Breaking,
    error: type[AdlnError],
    complaint: str,
    network_path: Path,
    network: ADLN,
    other_network: ADLN,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken_trace(_: ADLN, names: tuple[str, ...], **__: object) -> ir.Model:
        return breaking(network, other_network, names)

    monkeypatch.setattr(exporting, "trace", broken_trace)
    with pytest.raises(error, match=complaint):
        export_network(network_path, tmp_path / "broken.onnx", depths=(1,))
    assert list(tmp_path.iterdir()) == []


def test_a_refused_export_keeps_the_file_that_was_there(
    network_path: Path, other_network: ADLN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "old.onnx"
    out.write_bytes(b"an older export")
    monkeypatch.setattr(
        exporting, "trace", lambda _, names, **__: trace_once(other_network.cut(1), names)
    )
    with pytest.raises(ParityError):
        export_network(network_path, out, depths=(1,))
    assert out.read_bytes() == b"an older export"


def test_int8_keeps_first_layers_in_float_where_the_gate_asks_for_it(
    network_path: Path, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[str, ...]] = []
    true_judge = exporting._judge

    def strict_judge(*arguments):  # type: ignore[no-untyped-def]
        tried.append(())
        if len(tried) == 1:
            raise ParityError("not good enough.")
        return true_judge(*arguments)

    monkeypatch.setattr(exporting, "_judge", strict_judge)
    said: list[str] = []
    (file,) = export_network(
        network_path,
        tmp_path / "a.onnx",
        depths=(1,),
        precision="int8",
        calibrate=picture_folder,
        on_step=said.append,
    )
    assert file.manifest.calibration.endswith("stem in float")
    assert any("Trying again" in text for text in said)
    stem = next(node for node in ir.load(file.path).graph if node.op_type == "Conv")
    weight = stem.inputs[1]
    assert weight is not None
    assert weight.producer() is None  # float weights; quantised ones come dequantised


def test_wrong_requests_are_refused_before_work_begins(network_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"must end in \.onnx or \.xml or \.param"):
        export_network(network_path, tmp_path / "a.pt", depths=(1,))
    with pytest.raises(ExportError, match="--calibrate"):
        export_network(network_path, tmp_path / "a.onnx", depths=(1,), precision="int8")
    with pytest.raises(ExportError, match="export fp32"):
        export_network(network_path, tmp_path / "a.xml", depths=(1,), precision="fp16")
    with pytest.raises(ExportError, match="split files need two depths or more"):
        export_network(network_path, tmp_path / "a.onnx", depths=(1,), split_files=True)
    with pytest.raises(CheckpointError, match="has exits at"):
        export_network(network_path, tmp_path / "a.onnx", depths=(3,))
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_network_is_refused(network_path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(network_path.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match="truncated"):
        export_network(broken, tmp_path / "a.onnx", depths=(1,))


@pytest.mark.parametrize("case", ["a file is in the way", "the target is a folder"])
def test_an_unwritable_target_is_refused(case: str, network_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "there" / "a.onnx"
    if case == "the target is a folder":
        out.mkdir(parents=True)
    else:
        (tmp_path / "there").write_text("a file")
    with pytest.raises(ExportError, match=r"cannot be written|is a folder"):
        export_network(network_path, out, depths=(1,))


def test_what_a_killed_export_left_is_removed_by_the_next(
    network_path: Path, tmp_path: Path
) -> None:
    (tmp_path / ".a.onnx.0123abcd.partial").mkdir()
    (tmp_path / ".a.onnx.0123abcd.partial" / "a.onnx").write_bytes(b"half")
    export_network(network_path, tmp_path / "a.onnx", depths=(1,))
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_openvino_files_pass_the_same_gate(
    network_path: Path, picture_folder: Path, tmp_path: Path
) -> None:
    (file,) = export_network(
        network_path,
        tmp_path / "res1.xml",
        depths=(1,),
        precision="int8",
        calibrate=picture_folder,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["res1.bin", "res1.xml"]
    assert len(file.manifest.parity) == 3
    # The layout for onnxruntime would be slow here.
    assert "ReduceMean/MatMul" not in (tmp_path / "res1.xml").read_text()


def test_openvino_that_is_not_there_is_named(
    network_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(ExportError, match="pip install"):
        export_network(network_path, tmp_path / "a.xml", depths=(1,))
    assert list(tmp_path.iterdir()) == []
