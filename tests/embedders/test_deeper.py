from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adln.embedders.deeper import ChainedEmbedder, DeeperEmbedder
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.handover import Handover
from adln.errors import ImageError, ModelFileError, SettingsError

MakeModel = Callable[..., Path]
MakePair = Callable[..., tuple[Path, Path]]
CROPS = np.random.default_rng(5).integers(0, 256, (5, 256, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize("threads", [1, 2])
def test_going_on_from_a_map_gives_the_answer_of_the_whole(
    make_pair: MakePair, make_model: MakeModel, threads: int
) -> None:
    shallow_path, deep_path = make_pair()
    whole = OnnxEmbedder(make_model("whole.onnx", depths=(1, 2))).embed(CROPS)
    shallow = OnnxEmbedder(shallow_path, threads=threads, batch_size=2)
    embeddings, maps = shallow.embed_with_maps(CROPS)
    assert maps[1].arrays["map_1"].shape == (5, 3, 8, 4)
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
    with pytest.raises(ModelFileError, match="outputs the maps of no stage"):
        DeeperEmbedder(deep, OnnxEmbedder(make_model(depths=(1,))))


def test_maps_of_another_shape_are_refused(make_pair: MakePair) -> None:
    shallow, deep = make_pair()
    with pytest.raises(ImageError, match="expected maps of stage 1"):
        DeeperEmbedder(deep, OnnxEmbedder(shallow)).embed(
            Handover({"map_1": np.zeros((2, 3, 4, 8), np.float32)})
        )


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_chain_answers_like_one_file_of_all_depths(
    make_pair: MakePair, make_model: MakeModel, flip: bool, threads: int
) -> None:
    chain = ChainedEmbedder(make_pair(), batch_size=2, flip=flip, threads=threads)
    whole = OnnxEmbedder(make_model("whole.onnx", depths=(1, 2)), flip=flip)
    assert chain.depths == (1, 2)
    found, expected = chain.embed(CROPS), whole.embed(CROPS)
    for depth in (1, 2):
        np.testing.assert_allclose(found[depth], expected[depth], atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_chain_answers_only_the_depths_asked_for(
    make_pair: MakePair, make_model: MakeModel, depth: int
) -> None:
    for paths in (make_pair(), [make_model("whole.onnx", depths=(1, 2))]):
        chain = ChainedEmbedder(paths, batch_size=8, depths=[depth])
        whole = OnnxEmbedder(make_model("whole.onnx", depths=(1, 2))).embed(CROPS)
        found = chain.embed(CROPS)
        assert (chain.depths, list(found)) == ((depth,), [depth])
        np.testing.assert_allclose(found[depth], whole[depth], atol=1e-6)
        assert chain.embed(CROPS[:0])[depth].shape == (0, 16)


def test_a_chain_refuses_what_it_cannot_answer(make_pair: MakePair) -> None:
    paths = make_pair()
    with pytest.raises(ModelFileError, match=r"no file gives depth \[4\]"):
        ChainedEmbedder(paths, batch_size=8, depths=[2, 4])
    with pytest.raises(SettingsError, match="name at least one"):
        ChainedEmbedder([], batch_size=8)
    with pytest.raises(SettingsError, match="threads"):
        ChainedEmbedder(paths, batch_size=8, threads=0)
    with pytest.raises(ImageError, match="expected crops"):
        ChainedEmbedder(paths, batch_size=8).embed(CROPS[:, :32])


def test_two_whole_networks_are_no_chain(make_model: MakeModel) -> None:
    first, second = OnnxEmbedder(make_model(name="a.onnx")), make_model(name="b.onnx")
    with pytest.raises(ModelFileError, match="one by one"):
        DeeperEmbedder(second, first)
