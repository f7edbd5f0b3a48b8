import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from adln.embedders.session import open_session, usable_cores
from adln.errors import ModelFileError, SettingsError

MakeModel = Callable[..., Path]


def test_a_file_of_export_opens_with_its_manifest(make_model: MakeModel) -> None:
    model = open_session(make_model(depths=(2, 3)))
    assert model.manifest.depths == (2, 3)
    assert model.session.get_inputs()[0].name == "crops"
    assert len(model.sha256) == 64


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.onnx: cannot be opened \(No such file"):
        open_session(tmp_path / "gone.onnx")


def test_a_mistyped_name_is_told_from_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"name of a known network: res1, res2"):
        open_session(Path("rest2"))
    with pytest.raises(ModelFileError, match=r"of `adln export`\.$"):
        open_session(tmp_path / "rest2")


def test_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelFileError, match=r"empty\.onnx: the file is empty"):
        open_session(tmp_path / "empty.onnx")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_file_is_refused(make_model: MakeModel, share: float) -> None:
    path = make_model()
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelFileError, match=r"tiny\.onnx: .*(truncated|without the manifest)"):
        open_session(path)


def test_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_text("these are notes, not a network")
    with pytest.raises(ModelFileError, match="truncated, damaged or not an ONNX file"):
        open_session(path)


def test_a_network_for_training_must_be_exported_first(tmp_path: Path) -> None:
    path = tmp_path / "market.safetensors"
    path.write_bytes(b"weights")
    with pytest.raises(ModelFileError, match=r"adln export .*market\.safetensors --depth 2"):
        open_session(path)


def test_foreign_onnx_file_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(ModelFileError, match="without the manifest"):
        open_session(make_model(manifest=None))


def test_unreadable_manifest_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(ModelFileError, match=r"tiny\.onnx: the manifest inside cannot be read"):
        open_session(make_model(manifest="{"))


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ({"depths": (3, 4)}, r"expected outputs \['embedding_3'"),
        ({"dim": 2048}, r"expected embedding of shape \(N, 2048\)"),
        ({"height_px": 128, "width_px": 64}, r"crops of shape \(N, \[128, 64, 3\]\)"),
        ({"starts_after": 1}, "expected one input 'map_1', found"),
        ({"maps": (2,)}, "map_2"),
    ],
)
def test_graph_that_is_not_the_manifests_is_refused(
    make_model: MakeModel, says: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ModelFileError, match=f"contradicts its manifest: .*{complaint}"):
        open_session(make_model(says=says))


def test_graph_for_one_crop_only_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(ModelFileError, match="expected any batch size, found 1"):
        open_session(make_model(batch=1))


@pytest.mark.parametrize("word", ["cpu", "CPU", "CPUExecutionProvider"])
def test_provider_may_be_named_short_or_long(make_model: MakeModel, word: str) -> None:
    model = open_session(make_model(), provider=word)
    assert model.session.get_providers() == ["CPUExecutionProvider"]


def test_provider_that_is_not_there_is_told_with_those_that_are(make_model: MakeModel) -> None:
    with pytest.raises(SettingsError, match=r"no execution provider 'abacus'; it has: .*cpu"):
        open_session(make_model(), provider="abacus")


def test_threads_below_one_are_refused(make_model: MakeModel) -> None:
    with pytest.raises(SettingsError, match="threads must be at least 1, got 0"):
        open_session(make_model(), threads=0)


def test_there_is_a_core_to_use() -> None:
    assert usable_cores() >= 1


@pytest.mark.parametrize("in_function", [False, True])
def test_a_graph_that_may_run_for_ever_is_refused(make_model: MakeModel, in_function: bool) -> None:
    path = make_model()
    model = onnx.load(path)
    helper, kinds = onnx.helper, onnx.TensorProto
    condition = helper.make_tensor("always", kinds.BOOL, [], [True])
    body = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_too"]) for name in ("go_on", "value")],
        "body",
        [
            helper.make_tensor_value_info("round", kinds.INT64, []),
            helper.make_tensor_value_info("go_on", kinds.BOOL, []),
            helper.make_tensor_value_info("value", kinds.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("go_on_too", kinds.BOOL, []),
            helper.make_tensor_value_info("value_too", kinds.BOOL, []),
        ],
    )
    loop = [
        helper.make_node("Constant", [], ["always"], value=condition),
        helper.make_node("Loop", ["", "always", "always"], ["last"], body=body),
    ]
    if in_function:
        opset = [helper.make_opsetid("", 18)]
        model.functions.append(helper.make_function("own", "Endless", [], ["last"], loop, opset))
        model.opset_import.append(helper.make_opsetid("own", 1))
        loop = [helper.make_node("Endless", [], ["unused"], domain="own")]
    model.graph.node.extend(loop)
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=r"tiny\.onnx: the graph contains Loop"):
        open_session(path)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelFileError, match="a pipe or a device; expected an ONNX file"):
        open_session(tmp_path / "pipe.onnx")


def test_the_digest_is_that_of_what_was_opened(make_model: MakeModel) -> None:
    path = make_model()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    model = open_session(path)
    path.write_bytes(b"another file")
    assert model.sha256 == digest
    path.unlink()
    assert model.sha256 == digest
