from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from adln.errors import ImageError, ModelFileError
from adln.runtime.deeper import DeeperEmbedder
from adln.runtime.embedder import OnnxEmbedder

MakeModel = Callable[..., Path]
MakePair = Callable[..., tuple[Path, Path]]
CROPS = np.random.default_rng(5).integers(0, 256, (5, 256, 128, 3), dtype=np.uint8)


@pytest.fixture
def make_pair(make_model: MakeModel) -> MakePair:
    """Split a network of depths 1 and 2 at its pooled colours, here called the map of stage 1."""

    def make(**deep_says: object) -> tuple[Path, Path]:
        whole = onnx.load(make_model("whole.onnx", depths=(1, 2)))
        kinds, helper = onnx.TensorProto, onnx.helper
        paths = []
        for name, depth, says in (
            ("shallow.onnx", 1, {"maps": (1,)}),
            ("deep.onnx", 2, {"starts_after": 1, **deep_says}),
        ):
            path = make_model(name, depths=(depth,), says=says)
            model = onnx.load(path)
            del model.graph.node[:]
            del model.graph.initializer[:]
            model.graph.initializer.extend(whole.graph.initializer)
            map_1 = helper.make_tensor_value_info("map_1", kinds.FLOAT, ["batch", 3, 8, 4])
            for node in whole.graph.node:
                is_shared = node.op_type in ("Cast", "Sub", "Transpose", "AveragePool")
                if not (is_shared and depth == 2):
                    model.graph.node.append(node)
            new_names = {
                "pooled": "map_1",
                f"embedding_{depth}": "embedding",
                f"norm_{depth}": "norm",
            }
            for node in model.graph.node:
                for names in (node.input, node.output):
                    names[:] = [new_names.get(value, value) for value in names]
            if depth == 1:
                model.graph.output.append(map_1)
            else:
                model.graph.input[0].CopyFrom(map_1)
            onnx.save(model, path)
            paths.append(path)
        return paths[0], paths[1]

    return make


@pytest.mark.parametrize("threads", [1, 2])
def test_going_on_from_a_map_gives_the_answer_of_the_whole(
    make_pair: MakePair, make_model: MakeModel, threads: int
) -> None:
    shallow_path, deep_path = make_pair()
    whole = OnnxEmbedder(make_model("whole.onnx", depths=(1, 2))).embed(CROPS)
    shallow = OnnxEmbedder(shallow_path, threads=threads, batch_size=2)
    embeddings, maps = shallow.embed_with_maps(CROPS)
    assert maps[1].shape == (5, 3, 8, 4)
    np.testing.assert_allclose(embeddings[1], whole[1], atol=1e-6)
    worth_it = [0, 3]
    deep = DeeperEmbedder(deep_path, shallow)
    assert (deep.starts_after, deep.depths) == (1, (2,))
    np.testing.assert_allclose(deep.embed(maps[1][worth_it])[2], whole[2][worth_it], atol=1e-6)


def test_files_of_different_exports_are_not_joined(make_pair: MakePair) -> None:
    shallow, deep = make_pair(source_sha256="6" * 64, precision="int8")
    with pytest.raises(ModelFileError, match="they differ in source_sha256, precision"):
        DeeperEmbedder(deep, OnnxEmbedder(shallow))


def test_a_file_without_the_map_is_not_gone_on_from(
    make_pair: MakePair, make_model: MakeModel
) -> None:
    _, deep = make_pair()
    with pytest.raises(ModelFileError, match="puts out the maps of no stage"):
        DeeperEmbedder(deep, OnnxEmbedder(make_model(depths=(1,))))


def test_maps_of_another_shape_are_refused(make_pair: MakePair) -> None:
    shallow, deep = make_pair()
    with pytest.raises(ImageError, match="expected maps of stage 1"):
        DeeperEmbedder(deep, OnnxEmbedder(shallow)).embed(np.zeros((2, 3, 4, 8), np.float32))
