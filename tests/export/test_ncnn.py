"""ncnn files pass the same gate, and broken ones do not."""

import sys
from pathlib import Path

import numpy as np
import pytest
from tests.export.conftest import trace_once

from adln.embedders.ncnn_embedder import NcnnEmbedder, read_manifest
from adln.errors import ExportError, ParityError
from adln.export import exporting, ncnn
from adln.export.calibration import choose_crops
from adln.export.exporting import export_network
from adln.manifest import Manifest
from adln.model.embedder import TorchEmbedder
from adln.model.network import ADLN


@pytest.fixture(scope="module")
def exported(
    network_path: Path, picture_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Both depths in one file, whose name has a hyphen, which pnnx would not keep."""
    folder = tmp_path_factory.mktemp("ncnn")
    (file,) = export_network(
        network_path, folder / "a-b.ncnn.param", depths=(1, 2), calibrate=picture_folder
    )
    return file.path


def test_several_depths_share_a_file_that_answers_like_torch(exported: Path, network: ADLN) -> None:
    crops = choose_crops(None, height_px=64, width_px=32).gate[:5]
    found = NcnnEmbedder(exported).embed(crops)
    expected = TorchEmbedder(network, device="cpu", flip=False).embed(crops)
    for depth in (1, 2):
        np.testing.assert_allclose(found[depth], expected[depth], atol=1e-4)


def test_three_files_appear_and_the_manifest_has_the_figures(exported: Path) -> None:
    names = sorted(path.name for path in exported.parent.iterdir())
    assert names == ["a-b.ncnn.bin", "a-b.ncnn.json", "a-b.ncnn.param"]
    manifest = read_manifest(exported)
    assert manifest.input_form == "float_rgb_nchw"
    assert {(row.depth, row.batch_size) for row in manifest.parity} == {
        (depth, batch) for depth in (1, 2) for batch in (1, 7, 32)
    }
    assert all(row.least >= 0.9999 for row in manifest.parity)


def test_inputs_and_outputs_have_the_names_of_other_files(exported: Path) -> None:
    blobs = exported.read_text().split()
    assert {"crops", "embedding_1", "norm_1", "embedding_2", "norm_2"} <= set(blobs)


def test_half_precision_halves_the_weights(
    network_path: Path, picture_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "half.param"
    (file,) = export_network(
        network_path, out, depths=(1,), precision="fp16", calibrate=picture_folder
    )
    assert read_manifest(out).precision == "fp16"
    assert all(row.least >= 0.999 for row in file.manifest.parity)
    # Res1 has 0.48 million weights and 8,192 numbers of the BNNeck: 2.0 MB in full precision.
    assert out.with_suffix(".bin").stat().st_size < 1_200_000


def test_a_network_with_other_weights_is_refused_and_leaves_nothing(
    network_path: Path, other_network: ADLN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        exporting,
        "trace",
        lambda _, names, **kwargs: trace_once(other_network.cut(1), names, **kwargs),
    )
    with pytest.raises(ParityError, match="least cosine"):
        export_network(network_path, tmp_path / "a.param", depths=(1,))
    assert list(tmp_path.iterdir()) == []


def test_a_weights_file_damaged_by_the_converter_is_refused(
    network_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_save = ncnn.save

    def save_and_damage(model: object, manifest: Manifest, path: Path) -> None:
        true_save(model, manifest, path)  # type: ignore[arg-type]
        weights = path.with_suffix(".bin")
        content = bytearray(weights.read_bytes())
        middle = len(content) // 2 // 4 * 4
        content[middle : middle + 40_000] = np.full(10_000, 0.5, np.float32).tobytes()
        weights.write_bytes(content)
        ncnn.write_manifest(manifest, path)

    monkeypatch.setattr(ncnn, "save", save_and_damage)
    with pytest.raises(ParityError, match="least cosine"):
        export_network(network_path, tmp_path / "a.param", depths=(1,))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".bin", ".json"])
def test_files_that_do_not_belong_together_are_refused(
    ending: str, exported: Path, tmp_path: Path
) -> None:
    for path in exported.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    copy = tmp_path / exported.name
    NcnnEmbedder(copy)
    part = copy.with_suffix(ending)
    part.write_bytes(part.read_bytes().replace(b"0", b"1"))
    with pytest.raises(ExportError, match=r"other \.param and \.bin"):
        NcnnEmbedder(copy)
    part.unlink()
    with pytest.raises(ExportError, match="Copy all three"):
        NcnnEmbedder(copy)


@pytest.mark.parametrize("package", ["ncnn", "pnnx"])
def test_a_package_that_is_not_there_is_named(
    package: str, network_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=f"needs {package}, which is not installed.*pip install"):
        export_network(network_path, tmp_path / "a.param", depths=(1,))
    assert list(tmp_path.iterdir()) == []


def test_what_ncnn_cannot_do_is_refused_before_work_begins(
    network_path: Path, picture_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.param"
    with pytest.raises(ExportError, match="fp32 or fp16"):
        export_network(network_path, out, depths=(1,), precision="int8", calibrate=picture_folder)
    with pytest.raises(ExportError, match="depths 1 to 3"):
        export_network(network_path, out, depths=(2, 4))
    with pytest.raises(ExportError, match="split files"):
        export_network(network_path, out, depths=(1, 2), split_files=True)
