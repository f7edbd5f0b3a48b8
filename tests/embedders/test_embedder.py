import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adln.crops import flip, resize
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.session import open_session
from adln.embeddings import Embedder, flip_average
from adln.errors import ImageError, ModelFileError, SettingsError

MakeModel = Callable[..., Path]


def some_crops(count: int, height: int = 256, width: int = 128) -> np.ndarray:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (count, 8, 4, 3), dtype=np.uint8)
    return np.stack([resize(crop, height_px=height, width_px=width) for crop in small])


def as_png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def test_it_is_an_embedder_with_unit_lengths(make_model: MakeModel) -> None:
    embedder: Embedder = OnnxEmbedder(make_model(depths=(2, 3)))
    answers = embedder.embed(some_crops(5))
    assert embedder.depths == (2, 3)
    assert tuple(answers) == (2, 3)
    for embeddings in answers.values():
        assert embeddings.shape == (5, embedder.dim)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_neither_threads_nor_batches_change_the_answer(
    make_model: MakeModel, threads: int, batch_size: int
) -> None:
    crops = some_crops(11)
    path = make_model()
    expected = open_session(path).session.run(["embedding"], {"crops": crops})[0]
    embedder = OnnxEmbedder(path, threads=threads, batch_size=batch_size)
    np.testing.assert_allclose(embedder.embed(crops)[2], expected, atol=1e-6)


def test_flip_averages_features_before_they_are_scaled(make_model: MakeModel) -> None:
    crops = some_crops(6)
    path = make_model(depths=(1, 4))
    session = open_session(path).session
    answers = OnnxEmbedder(path, flip=True, batch_size=4).embed(crops)
    for depth in (1, 4):
        names = [f"embedding_{depth}", f"norm_{depth}"]
        ahead, mirrored = (
            np.multiply(*session.run(names, {"crops": view})) for view in (crops, flip(crops))
        )
        np.testing.assert_allclose(answers[depth], flip_average(ahead, mirrored), atol=1e-6)
        # Scaling first would be another embedding; the crops are chosen to show it.
        scaled_first = flip_average(
            *(f / np.linalg.norm(f, axis=1)[:, None] for f in (ahead, mirrored))
        )
        assert np.abs(answers[depth] - scaled_first).max() > 1e-3


def test_flip_makes_a_crop_and_its_mirror_image_equal(make_model: MakeModel) -> None:
    embedder = OnnxEmbedder(make_model(), flip=True)
    crops = some_crops(2)
    np.testing.assert_allclose(embedder.embed(crops)[2], embedder.embed(flip(crops))[2], atol=1e-6)


def test_no_crops_give_no_embeddings(make_model: MakeModel) -> None:
    for flipped in (False, True):
        embedder = OnnxEmbedder(make_model(), flip=flipped)
        assert embedder.embed(some_crops(1)[:0])[2].shape == (0, 16)
        assert embedder.embed_pictures([]).embeddings[2].shape == (0, 16)


@pytest.mark.parametrize(
    "crops",
    [np.zeros((2, 128, 64, 3), np.uint8), np.zeros((256, 128, 3), np.uint8), some_crops(1) / 255],
)
def test_crops_of_another_shape_or_type_are_refused(
    make_model: MakeModel, crops: np.ndarray
) -> None:
    with pytest.raises(ImageError, match=r"expected crops of shape \(N, 256, 128, 3\)"):
        OnnxEmbedder(make_model()).embed(crops)


def test_pictures_in_all_forms_give_one_embedding_each(
    make_model: MakeModel, tmp_path: Path
) -> None:
    frame = some_crops(1, 500, 400)[0]
    person = frame[100:420, 50:190]
    (tmp_path / "person.png").write_bytes(as_png(person))
    embedder = OnnxEmbedder(make_model())
    result = embedder.embed_pictures(
        [person, as_png(person), tmp_path / "person.png", str(tmp_path / "person.png")]
    )
    expected = embedder.embed(resize(person)[np.newaxis])[2][0]
    assert result.unusable == ()
    assert result.indices.tolist() == [0, 1, 2, 3]
    for embedding in (*result.embeddings[2], embedder.embed_picture(person)[2]):
        np.testing.assert_allclose(embedding, expected, atol=1e-6)


def test_of_a_thousand_pictures_three_bad_ones_are_named_and_the_rest_embedded(
    make_model: MakeModel, tmp_path: Path
) -> None:
    stream = io.BytesIO()
    Image.fromarray(some_crops(1, 64, 32)[0]).save(stream, "JPEG")
    paths = [tmp_path / f"{number:04}.jpg" for number in range(1000)]
    for path in paths:
        path.write_bytes(stream.getvalue())
    paths[0].write_bytes(b"not a picture")
    paths[500].write_bytes(stream.getvalue()[:300])
    paths[999].unlink()
    told: list[int] = []
    embedder = OnnxEmbedder(make_model(height_px=64, width_px=32), threads=2)
    result = embedder.embed_pictures(paths, on_progress=told.append)
    assert result.embeddings[2].shape == (997, 16)
    assert sorted(set(range(1000)) - set(result.indices.tolist())) == [0, 500, 999]
    assert [picture.index for picture in result.unusable] == [0, 500, 999]
    for picture in result.unusable:
        assert picture.name == str(paths[picture.index])
        assert picture.name in picture.reason
    assert sum(told) == 1000


def test_a_picture_of_which_the_network_makes_nothing_is_unusable(make_model: MakeModel) -> None:
    # The network subtracts this grey, and divides by the length of what is left.
    grey, person = np.full((64, 32, 3), 110, np.uint8), some_crops(1, 64, 32)[0]
    embedder = OnnxEmbedder(make_model(height_px=64, width_px=32))
    result = embedder.embed_pictures([grey, person, b"nothing", grey, person])
    assert [picture.index for picture in result.unusable] == [0, 2, 3]
    assert "one colour" in result.unusable[0].reason
    assert result.indices.tolist() == [1, 4]
    np.testing.assert_allclose(np.linalg.norm(result.embeddings[2], axis=1), 1, atol=1e-5)
    with pytest.raises(ImageError, match="Ann: the network gives only zeros"):
        embedder.embed_picture(grey, name="Ann")


def test_bad_picture_among_arrays_is_named_by_number_or_given_name(make_model: MakeModel) -> None:
    embedder = OnnxEmbedder(make_model())
    people = [some_crops(1)[0], np.zeros((0, 64, 3), np.uint8)]
    assert embedder.embed_pictures(people).unusable[0].reason.startswith("picture 1: ")
    named = embedder.embed_pictures(people, names=["Ann", "Bob"])
    assert named.unusable[0].reason.startswith("Bob: ")
    with pytest.raises(SettingsError, match="2 pictures but 1 names"):
        embedder.embed_pictures(people, names=["Ann"])


def test_one_bad_picture_alone_is_an_error(make_model: MakeModel, tmp_path: Path) -> None:
    embedder = OnnxEmbedder(make_model())
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        embedder.embed_picture(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="door 3: "):
        embedder.embed_picture(b"", name="door 3")


def test_a_fault_that_is_no_picture_s_is_not_swallowed(make_model: MakeModel) -> None:
    embedder = OnnxEmbedder(make_model(), threads=2)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedder.embed_pictures(list(some_crops(4)), on_progress=stop)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"threads": 0}])
def test_settings_below_one_are_refused(make_model: MakeModel, wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="must be at least 1, got 0"):
        OnnxEmbedder(make_model(), **wrong)  # type: ignore[arg-type]


def test_a_file_that_goes_on_from_a_map_takes_no_crops(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    path = make_model(says={"starts_after": 1})
    model = onnx.load(path)
    model.graph.input[0].name = "map_1"
    model.graph.node[0].input[0] = "map_1"
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match="continues from the map of stage 1"):
        OnnxEmbedder(path)
