from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from adln.errors import ModelFileError, SettingsError
from adln.manifest import METADATA_KEY, Manifest
from adln.pipeline.depths import DepthEmbedder

CROPS = np.random.default_rng(5).integers(0, 256, (11, 64, 32, 3), dtype=np.uint8)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a network whose depth d is the mean colour of each quarter, rolled by d."""
    helper, kinds = onnx.helper, onnx.TensorProto

    def make(  # type: ignore[no-untyped-def]
        name: str,
        depths: tuple[int, ...],
        *,
        after: int = 0,
        maps: tuple[int, ...] = (),
        spaces: tuple[str, ...] = (),
        source: str = "5" * 64,
    ):
        nodes = []
        if after:
            start = helper.make_tensor_value_info(f"map_{after}", kinds.FLOAT, ["batch", 12])
            nodes.append(helper.make_node("Identity", [f"map_{after}"], ["flat"]))
        else:
            start = helper.make_tensor_value_info("crops", kinds.UINT8, ["batch", 64, 32, 3])
            nodes += [
                helper.make_node("Cast", ["crops"], ["pixels"], to=kinds.FLOAT),
                helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
                helper.make_node(
                    "AveragePool", ["planes"], ["pool"], kernel_shape=[16, 32], strides=[16, 32]
                ),
                helper.make_node("Flatten", ["pool"], ["flat"]),
            ]
        outputs, constants = [], []
        for stage in maps:
            nodes.append(helper.make_node("Identity", ["flat"], [f"map_{stage}"]))
            outputs.append(
                helper.make_tensor_value_info(f"map_{stage}", kinds.FLOAT, ["batch", 12])
            )
        for depth in depths:
            ending = "" if len(depths) == 1 else f"_{depth}"
            roll = np.roll(np.eye(12, dtype=np.float32), depth, axis=0)
            constants.append(onnx.numpy_helper.from_array(roll, f"roll{depth}"))
            nodes += [
                helper.make_node("MatMul", ["flat", f"roll{depth}"], [f"feature{depth}"]),
                helper.make_node(
                    "ReduceL2", [f"feature{depth}"], [f"norm{ending}"], axes=[1], keepdims=1
                ),
                helper.make_node(
                    "Div", [f"feature{depth}", f"norm{ending}"], [f"embedding{ending}"]
                ),
            ]
            outputs += [
                helper.make_tensor_value_info(f"embedding{ending}", kinds.FLOAT, ["batch", 12]),
                helper.make_tensor_value_info(f"norm{ending}", kinds.FLOAT, ["batch", 1]),
            ]
        graph = helper.make_graph(nodes, "tiny", [start], outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        about = Manifest(
            depths=depths,
            precision="fp32",
            dim=12,
            height_px=64,
            width_px=32,
            source_sha256=source,
            adln_version="0.1.0",
            created_utc="2026-01-01T00:00:00Z",
            starts_after=after,
            maps=maps,
            spaces=spaces,
        )
        helper.set_model_props(model, {METADATA_KEY: about.to_json()})
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return make


def test_one_file_answers_all_depths_at_one_price(write: Write) -> None:
    path = write("whole.onnx", (1, 2, 4))
    embedder = DepthEmbedder([path])
    assert embedder.depths == (1, 2, 4)
    assert embedder.priced_depths == (4,)
    assert sorted(embedder.embed(CROPS, 2)) == [1, 2]
    assert embedder.digest == embedder.file_of(4)[1]


def test_a_split_export_answers_as_the_whole_and_brings_shallower_depths(write: Write) -> None:
    whole = DepthEmbedder([write("whole.onnx", (1, 2, 3))])
    parts = [
        write("1.onnx", (1,), maps=(1,)),
        write("2.onnx", (2,), after=1, maps=(2,)),
        write("3.onnx", (3,), after=2),
    ]
    split = DepthEmbedder(parts, batch_size=4)
    assert split.priced_depths == (1, 2, 3)
    for depth in (1, 2, 3):
        expected, found = whole.embed(CROPS, depth), split.embed(CROPS, depth)
        assert list(found) == list(expected)
        for at in expected:
            np.testing.assert_allclose(found[at], expected[at], rtol=1e-6)
    assert split.digest != whole.digest
    assert split.file_of(2)[0] == parts[1]


def test_no_crops_give_no_embeddings(write: Write) -> None:
    parts = [write("1.onnx", (1,), maps=(1,)), write("2.onnx", (2,), after=1)]
    found = DepthEmbedder(parts).embed(CROPS[:0], 2)
    assert {depth: rows.shape for depth, rows in found.items()} == {1: (0, 12), 2: (0, 12)}


def test_spaces_are_those_of_the_files(write: Write) -> None:
    parts = [write("1.onnx", (1,), maps=(1,), spaces=("a" * 16,)), write("2.onnx", (2,), after=1)]
    assert DepthEmbedder(parts).spaces == {1: "a" * 16, 2: ""}
    assert DepthEmbedder([write("whole.onnx", (1, 4))]).spaces == {1: "", 4: ""}


def test_each_priced_depth_has_a_cost(write: Write) -> None:
    parts = [write("1.onnx", (1,), maps=(1,)), write("2.onnx", (2,), after=1)]
    costs = DepthEmbedder(parts).measure_ms()
    assert list(costs) == [1, 2]
    assert min(costs.values()) > 0


def test_files_that_start_from_crops_answer_each_by_itself(write: Write) -> None:
    whole = DepthEmbedder([write("whole.onnx", (1, 2))])
    files = [write("1.onnx", (1,)), write("2.onnx", (2,))]
    apart = DepthEmbedder(files)
    assert apart.depths == apart.priced_depths == (1, 2)
    expected = whole.embed(CROPS, 2)
    for depth in (1, 2):
        found = apart.embed(CROPS, depth)
        assert list(found) == [depth]
        np.testing.assert_allclose(found[depth], expected[depth], rtol=1e-6)
        assert apart.file_of(depth)[0] == files[depth - 1]
    assert list(apart.embed_all(CROPS)) == [1, 2]


def test_the_depths_on_the_way_are_those_that_a_deeper_one_brings(write: Write) -> None:
    chain = [write("2.onnx", (2,), maps=(2,)), write("3.onnx", (3, 4), after=2)]
    embedder = DepthEmbedder([write("1.onnx", (1,)), *chain])
    for depth in (1, 2, 3, 4):
        assert embedder.on_the_way(depth) == tuple(embedder.embed(CROPS, depth))
    assert embedder.on_the_way(4) == (2, 3, 4)


def test_files_in_the_wrong_order_or_twice_are_refused(write: Write) -> None:
    one, two = write("1.onnx", (1,)), write("2.onnx", (2,))
    with pytest.raises(ModelFileError, match="shallowest first"):
        DepthEmbedder([two, one])
    with pytest.raises(ModelFileError, match="depth 1 already comes from"):
        DepthEmbedder([one, write("again.onnx", (1, 2))])


def test_a_file_of_another_network_is_refused(write: Write) -> None:
    stranger = write("2.onnx", (2,), source="b" * 64)
    with pytest.raises(ModelFileError, match=r"another network.*source_sha256"):
        DepthEmbedder([write("1.onnx", (1,)), stranger])


def test_files_of_two_trainings_into_one_space_go_together(write: Write) -> None:
    space, other = ("a" * 16,), ("b" * 16,)
    one, two = (
        write("1.onnx", (1,), spaces=space),
        write("2.onnx", (2,), spaces=space, source="b" * 64),
    )
    assert DepthEmbedder([one, two]).spaces == {1: "a" * 16, 2: "a" * 16}
    elsewhere = write("other.onnx", (2,), spaces=other, source="b" * 64)
    with pytest.raises(ModelFileError, match=r"another network.*source_sha256"):
        DepthEmbedder([one, elsewhere])


def test_a_depth_that_no_file_answers_is_refused(write: Write) -> None:
    with pytest.raises(ModelFileError, match="depth 3"):
        DepthEmbedder([write("1.onnx", (1,))]).embed(CROPS, 3)


def test_no_file_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one"):
        DepthEmbedder([])
