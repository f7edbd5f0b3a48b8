"""Any network is a full member, once it is described."""

import hashlib
import io
import json
import multiprocessing
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import helper
from PIL import Image
from tests.api.conftest import MEAN, SIZE_PX, STD, write_foreign
from tests.small_networks import say_bgr

import adln
from adln.atomic import user_folder
from adln.cameras import finding
from adln.cameras.finding import FoundPerson
from adln.cli.main import adln as command
from adln.embedders.foreign import sidecar
from adln.embedders.named import name_of_network
from adln.embedders.session import open_session
from adln.errors import GalleryError, ImageError, ModelFileError, SettingsError
from adln.gallery.records import ModelKey
from adln.pipeline.depths import DepthEmbedder


def picture(seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    plain = rng.integers(0, 256, 3) * np.ones((*SIZE_PX, 1))
    return plain.astype(np.uint8)


def expected(crop: NDArray[np.uint8], *, bgr: bool = False) -> NDArray[np.float64]:
    means = crop.reshape(-1, 3).mean(axis=0)[:: -1 if bgr else 1]
    scaled = (means / 255 - MEAN) / STD
    return scaled / np.linalg.norm(scaled)


@pytest.mark.parametrize("colours", ["rgb", "bgr"])
@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_pixels_come_as_described_whatever_the_batch(
    foreign: Path, colours: str, batch: int | str
) -> None:
    write_foreign(foreign, batch=batch)
    net = adln.load(foreign, mean=MEAN, std=STD, colours=colours)
    crops = [picture(seed) for seed in range(6)]
    wanted = [expected(crop, bgr=colours == "bgr") for crop in crops]
    np.testing.assert_allclose(net.embed(crops), wanted, atol=1e-5)
    assert (net.dim, net.crop_size) == (3, SIZE_PX)
    assert net.proved


def test_a_described_network_opens_like_any_other(foreign: Path) -> None:
    adln.describe_network(foreign, mean=MEAN, std=STD, licence="MIT", name="means")
    assert open_session("means").manifest.licence == "MIT"
    assert adln.load("means").key == adln.load(foreign).key
    known = {one.name: one for one in adln.networks()}
    assert known["means"].path == foreign
    assert known["res2"].shipped


def test_no_command_calls_a_network_of_another_make_by_a_depth_of_this_one(
    foreign: Path, tmp_path: Path
) -> None:
    adln.describe_network(foreign, mean=MEAN, std=STD, name="means")
    people = tmp_path / "people"
    people.mkdir()
    for at in range(2):
        Image.fromarray(picture()).save(people / f"{at}.png")
    data = tmp_path / "data"
    for split, camera in (("query", 1), ("bounding_box_test", 2), ("bounding_box_train", 1)):
        (data / split).mkdir(parents=True)
        for at in range(1, 4):
            Image.fromarray(picture(at)).save(data / split / f"{at:04d}_c{camera}s1_000001_00.jpg")
    out, folder = tmp_path / "f.npz", str(tmp_path / "gallery")
    told = ""
    for arguments in (
        ["embed", str(people), "--network", "means", "--out", str(out)],
        ["gallery", "enrol", folder, str(people), "--network", "means", "--name", "Ann"],
        ["gallery", "info", folder],
        ["search", str(people / "0.png"), "--gallery", folder, "--network", "means"],
        ["evaluate", "means", "--data", str(data), "--report", str(tmp_path / "r"), "--open-set"],
    ):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 0, (result.output, result.exception)
        told += result.output
    assert "Res" not in told.replace("Results", "")
    assert "3 numbers each, whole fp32" in told
    assert "Res4" not in (tmp_path / "r" / "report.html").read_text()
    assert DepthEmbedder([foreign]).depth_name(4) == "means"


def test_one_picture_comes_in_every_usual_form(foreign: Path, tmp_path: Path) -> None:
    net = adln.load(foreign, mean=MEAN, std=STD)
    pixels = picture()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    forms = [pixels, Image.fromarray(pixels), stream.getvalue(), tmp_path / "a.png"]
    for form in [*forms, str(tmp_path / "a.png")]:
        np.testing.assert_allclose(net.embed(form), [expected(pixels)], atol=1e-5)
    assert net.embed(forms).shape == (4, 3)
    assert net.embed([]).shape == (0, 3)


def test_people_are_cut_out_of_a_frame_by_anybody_s_boxes(foreign: Path) -> None:
    net = adln.load(foreign, mean=MEAN, std=STD)
    frame = np.zeros((100, 80, 3), np.uint8)
    left, right = picture(1), picture(2)
    frame[10:42, 5:21], frame[40:72, 50:66] = left, right
    boxes = [[5, 10, 21, 42], [50, 40, 66, 72]]
    found = net.embed(frame, boxes)
    np.testing.assert_allclose(found, [expected(left), expected(right)], atol=1e-5)
    detections = SimpleNamespace(xyxy=np.array(boxes, np.float32))
    np.testing.assert_array_equal(net.embed(Image.fromarray(frame), detections), found)
    assert net.embed(frame, np.zeros((0, 4))).shape == (0, 3)


def test_a_broken_picture_is_named(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        adln.load(foreign, mean=MEAN, std=STD).embed([picture(), tmp_path / "broken.jpg"])


def test_no_embedding_is_not_an_embedding(foreign: Path) -> None:
    net = adln.load(foreign, colours="rgb")
    black = np.zeros_like(picture())
    with pytest.raises(ImageError, match="picture 1: the network gives only zeros"):
        net.embed([picture(), black])
    with pytest.raises(ImageError, match="picture 0: the network gives only zeros"):
        net.embed(black, [[0, 0, 8, 8]])


def test_a_network_that_was_exchanged_is_refused(foreign: Path) -> None:
    adln.describe_network(foreign)
    write_foreign(foreign, batch=2)
    with pytest.raises(ModelFileError, match="is not the file that"):
        adln.load(foreign)


def test_a_network_that_was_exchanged_is_not_called_by_its_name(foreign: Path) -> None:
    digest = adln.describe_network(foreign, name="mine").source_sha256
    assert name_of_network(digest) == "mine"
    write_foreign(foreign, batch=2)
    assert name_of_network(digest) != "mine"


def test_embeddings_of_differently_prepared_pixels_are_never_compared(
    foreign: Path, tmp_path: Path
) -> None:
    wrong = adln.load(foreign, mean=MEAN, std=STD, colours="bgr")
    right = adln.load(foreign, mean=MEAN, std=STD, colours="rgb")
    assert wrong.key != right.key
    assert adln.load(foreign).key == right.key
    with adln.Gallery(tmp_path / "shop") as gallery:
        gallery.enrol("Anna", wrong.embed(picture()), network=wrong)
        with pytest.raises(GalleryError, match="network"):
            gallery.identify(right.embed(picture())[0], network=right)


def test_what_an_earlier_version_described_keeps_its_galleries(foreign: Path) -> None:
    digest = hashlib.sha256(foreign.read_bytes()).hexdigest()
    adln.describe_network(foreign, mean=MEAN, std=STD)
    said = json.loads(sidecar(foreign).read_text())
    said["manifest"] |= {"source_sha256": digest, "spaces": [digest[:16]]}
    sidecar(foreign).write_text(json.dumps(said))
    before = adln.load(foreign).key
    assert before == ModelKey(digest, 4, 3, digest[:16])
    adln.describe_network(foreign, mean=MEAN, std=STD, licence="MIT")
    assert adln.load(foreign, mean=MEAN, std=STD).key == before
    assert adln.load(foreign, mean=MEAN, std=STD, colours="bgr").key != before


def test_a_network_is_described_once(foreign: Path) -> None:
    adln.describe_network(foreign, mean=MEAN, std=STD, training_data="mine", licence="MIT")
    written = sidecar(foreign).stat().st_mtime_ns
    assert adln.load(foreign, mean=MEAN, std=STD).manifest.licence == "MIT"
    assert sidecar(foreign).stat().st_mtime_ns == written
    other = adln.load(foreign, mean=MEAN, std=STD, colours="bgr").manifest
    assert (other.training_data, other.licence) == ("mine", "MIT")
    write_foreign(foreign, batch=2)
    assert adln.load(foreign, mean=MEAN, std=STD).manifest.licence == "", "it is another network"


def test_what_cannot_be_read_again_is_not_written(foreign: Path) -> None:
    adln.describe_network(foreign, mean=MEAN, std=STD)
    before = sidecar(foreign).read_bytes()
    with pytest.raises(ModelFileError, match="licence is 5, expected str"):
        adln.describe_network(foreign, mean=MEAN, std=STD, licence=5)  # type: ignore[arg-type]
    assert sidecar(foreign).read_bytes() == before


def test_wrong_pixels_are_found_out_by_a_reference(foreign: Path) -> None:
    crops = [picture(seed) for seed in range(3)]
    reference = (crops, np.array([expected(crop) for crop in crops]))
    adln.describe_network(foreign, mean=MEAN, std=STD, reference=reference)
    before = sidecar(foreign).read_bytes()
    with pytest.raises(ModelFileError, match="does not answer like its reference"):
        adln.describe_network(foreign, mean=MEAN, std=STD, colours="bgr", reference=reference)
    assert sidecar(foreign).read_bytes() == before, "what was right stays"


@pytest.mark.parametrize(
    "changes", [{"mean": MEAN}, {"colours": "hsv"}, {"mean": MEAN, "std": (0, 1, 1)}]
)
def test_an_impossible_description_is_refused(foreign: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ModelFileError):
        adln.describe_network(foreign, **changes)  # type: ignore[arg-type]
    assert not sidecar(foreign).exists()


@pytest.mark.parametrize("batch", ["n", 4])
def test_a_network_exported_as_for_training_is_refused(foreign: Path, batch: int | str) -> None:
    # Like a batch normalisation that takes the mean of the batch it is given.
    nodes = [
        helper.make_node("ReduceMean", ["features"], ["of_batch"], axes=[0]),
        helper.make_node("Constant", [], ["most"], value_float=0.9),
        helper.make_node("Mul", ["of_batch", "most"], ["less"]),
        helper.make_node("Sub", ["features", "less"], ["normalised"]),
    ]
    write_foreign(foreign, batch=batch, more=nodes, outputs=["normalised"])
    with pytest.raises(ModelFileError, match=r"comes with others .*eval"):
        adln.describe_network(foreign, mean=MEAN, std=STD)
    assert not sidecar(foreign).exists()


def test_a_network_that_takes_one_crop_and_says_any_number_is_refused(foreign: Path) -> None:
    # Only one crop has three numbers.
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[1, 3])
    one = helper.make_node("Reshape", ["features", "shape"], ["row"])
    write_foreign(foreign, more=[shape, one], outputs=["row"])
    with pytest.raises(ModelFileError, match="several crops at a time"):
        adln.describe_network(foreign, mean=MEAN, std=STD)


def test_outputs_that_are_not_taken_are_told(
    foreign: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scores = helper.make_node("Softmax", ["features"], ["scores"])
    write_foreign(foreign, more=[scores], outputs=["scores", "features"])
    adln.describe_network(foreign, mean=MEAN, std=STD, colours="rgb")
    assert "several outputs; the first, of 3 numbers" in caplog.text
    assert "not features" in caplog.text
    # Once, and of the network itself, also where a description is tried before.
    found = adln.load(foreign).embed([picture()])
    caplog.clear()
    adln.describe_network(foreign, mean=MEAN, std=STD, reference=([picture()], found))
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(" has ")[0] for text in told] == [str(foreign)]


def test_a_map_without_its_pooling_is_told(foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
    halves = helper.make_node("AveragePool", ["images"], ["map"], kernel_shape=[16, 16])
    write_foreign(foreign, more=[halves], outputs=["map"])
    adln.describe_network(foreign, mean=MEAN, std=STD)
    assert "map of 3 x 17 x 1 numbers for each crop; all 51" in caplog.text
    caplog.clear()
    means = helper.make_node("Identity", ["means"], ["row"])  # (N, 3, 1, 1)
    write_foreign(foreign, more=[means], outputs=["row"])
    adln.describe_network(foreign, mean=MEAN, std=STD)
    assert "map" not in caplog.text


def test_the_mean_of_pixels_up_to_255_is_refused(foreign: Path) -> None:
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    with pytest.raises(ModelFileError, match="divide both by 255"):
        adln.load(foreign, mean=mean, std=std)
    assert not sidecar(foreign).exists()


@pytest.mark.parametrize("size", [SIZE_PX, ("height", "width")])
def test_the_other_layout_is_named(foreign: Path, size: tuple[int | str, int | str]) -> None:
    write_foreign(foreign, shape=(*size, 3))
    with pytest.raises(ModelFileError, match='layout is "nhwc"'):
        adln.load(foreign, mean=MEAN, std=STD)


@pytest.mark.parametrize("text", ["{}", "[" * 100_000])
def test_a_damaged_description_says_how_to_write_it_again(foreign: Path, text: str) -> None:
    sidecar(foreign).write_text(text)
    with pytest.raises(ModelFileError, match="adln networks add"):
        adln.load(foreign)


def test_a_description_of_other_crops_says_how_to_write_it_again(foreign: Path) -> None:
    adln.describe_network(foreign, mean=MEAN, std=STD)
    content = json.loads(sidecar(foreign).read_text())
    content["manifest"]["height_px"] //= 2
    sidecar(foreign).write_text(json.dumps(content))
    with pytest.raises(ModelFileError, match="adln networks add"):
        adln.load(foreign)


@pytest.mark.parametrize("threads", ["2", 2.0])
def test_a_number_of_cores_that_is_none_is_refused(foreign: Path, threads: Any) -> None:
    adln.describe_network(foreign, mean=MEAN, std=STD)
    with pytest.raises(SettingsError, match="threads must be an integer"):
        adln.load(foreign, threads=threads)


@pytest.mark.parametrize("flip", ["no", "", 1, None])
def test_an_option_that_is_neither_true_nor_false_is_refused(flip: Any) -> None:
    for asked in (adln.load, adln.Network):
        with pytest.raises(SettingsError, match="flip: expected bool, got"):
            asked("res1", flip=flip)


@pytest.mark.parametrize(
    ("name", "value"), [("spaces", ["ab" * 8]), ("spaces", []), ("depths", [2])]
)
def test_a_space_or_depth_written_by_hand_is_not_believed(
    foreign: Path, name: str, value: Any
) -> None:
    adln.describe_network(foreign, mean=MEAN, std=STD)
    said = json.loads(sidecar(foreign).read_text())
    said["manifest"][name] = value
    sidecar(foreign).write_text(json.dumps(said))
    with pytest.raises(ModelFileError, match=f"its {name} are .*adln networks add"):
        adln.load(foreign)


def test_a_missing_detector_is_not_to_be_exported(tmp_path: Path) -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ModelFileError, match="expected a YOLOX file in ONNX"):
        adln.find_people(frame, detector=tmp_path / "none.onnx")


def test_an_undescribed_network_says_what_to_do(foreign: Path) -> None:
    with pytest.raises(ModelFileError, match=f"adln networks add {foreign}"):
        adln.load(foreign)


def test_the_command_adds_lists_and_removes(foreign: Path) -> None:
    run = CliRunner()
    added = run.invoke(
        command,
        ["networks", "add", str(foreign), "--mean", "0.5,0.4,0.3", "--std", "0.2,0.25,0.5"],
    )
    assert added.exit_code == 0, added.output
    assert "means: 32x16 px -> 3 numbers, not checked against a reference" in added.output
    listed = run.invoke(command, ["networks"])
    assert "res2" in listed.output
    assert str(foreign) in listed.output
    assert run.invoke(command, ["networks", "remove", "means"]).exit_code == 0
    assert str(foreign) not in run.invoke(command, ["networks"]).output


def test_the_command_takes_statistics_in_the_order_of_the_colours_as_its_help_says(
    foreign: Path,
) -> None:
    run = CliRunner()
    said = " ".join(run.invoke(command, ["networks", "add", "--help"]).output.split())
    assert said.count("in the order of --colours") == 2
    assert "R,G,B" not in said
    statistics = ["--mean", "0.5,0.4,0.3", "--std", "0.2,0.25,0.5"]
    run.invoke(command, ["networks", "add", str(foreign), "--colours", "bgr", *statistics])
    blue, green, red = np.moveaxis(picture()[:1, :1].astype(float) / 255, -1, 0)[::-1]
    scaled = np.ravel([(blue - 0.5) / 0.2, (green - 0.4) / 0.25, (red - 0.3) / 0.5])
    found = adln.load(foreign).embed(picture())[0]
    np.testing.assert_allclose(found, scaled / np.linalg.norm(scaled), atol=1e-5)


def test_a_shipped_name_stays_what_it_is(foreign: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be the name"):
        adln.describe_network(foreign, name="res2")


def test_a_name_that_is_refused_leaves_no_description(foreign: Path) -> None:
    with pytest.raises(SettingsError, match=r"--name"):
        adln.describe_network(foreign, name="my network")
    assert [path.name for path in foreign.parent.glob(f"{foreign.name}*")] == [foreign.name]


def test_names_in_a_damaged_list_are_not_overwritten(foreign: Path) -> None:
    adln.describe_network(foreign, name="means")
    place = user_folder("config") / "networks.json"
    place.write_text(place.read_text()[:-1])
    with pytest.raises(SettingsError, match="Repair the file"):
        adln.describe_network(foreign, name="other")
    assert str(foreign) in place.read_text()
    assert [one.name for one in adln.networks()] == ["res1", "res2"]


def test_openvino_files_are_members(foreign: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    openvino.save_model(openvino.Core().read_model(foreign), tmp_path / "means.xml")
    net = adln.load(tmp_path / "means.xml", mean=MEAN, std=STD)
    crops = [picture(seed) for seed in range(3)]
    np.testing.assert_allclose(net.embed(crops), [expected(crop) for crop in crops], atol=1e-3)


def test_openvino_files_with_names_in_capitals_are_members(foreign: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    openvino.save_model(openvino.Core().read_model(foreign), tmp_path / "means.xml")
    for suffix in (".xml", ".bin"):
        (tmp_path / f"means{suffix}").rename(tmp_path / f"MEANS{suffix.upper()}")
    path = tmp_path / "MEANS.XML"
    adln.describe_network(path, name="capitals", mean=MEAN, std=STD)
    crop = picture()
    np.testing.assert_allclose(adln.load("capitals").embed(crop)[0], expected(crop), atol=1e-3)
    (known,) = (one for one in adln.networks() if one.name == "capitals")
    assert known.size_bytes == sum(file.stat().st_size for file in tmp_path.glob("MEANS.???"))


def test_the_colours_that_a_converter_left_in_the_file_are_taken(
    foreign: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "means.xml"
    openvino.save_model(openvino.Core().read_model(foreign), path)
    say_bgr(path)
    crop = picture()
    found = adln.load(path).embed(crop)[0]
    means = crop.reshape(-1, 3).mean(axis=0)[::-1]
    np.testing.assert_allclose(found, means / np.linalg.norm(means), atol=1e-3)
    assert caplog.records == []


def test_pixels_that_nothing_is_known_of_are_warned_of(
    foreign: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adln.describe_network(foreign)
    assert "RGB from 0 to 255" in caplog.text
    caplog.clear()
    adln.describe_network(foreign, mean=MEAN, std=STD)
    adln.describe_network(foreign, colours="bgr")
    assert caplog.records == []


def test_the_people_of_a_whole_photo_are_embedded_by_their_boxes(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_foreign(foreign)
    net = adln.load(foreign, mean=MEAN, std=STD)
    photo = np.zeros((60, 90, 3), np.uint8)
    photo[10:50, 60:80] = 200
    found = SimpleNamespace(find=lambda image: [FoundPerson((60.0, 10.0, 80.0, 50.0), 0.9)])
    monkeypatch.setattr(finding, "PeopleFinder", lambda detector: found)
    boxes = adln.find_people(Image.fromarray(photo))
    assert boxes.tolist() == [[60, 10, 80, 50]]
    np.testing.assert_array_equal(net.embed(photo, boxes), net.embed(photo[10:50, 60:80]))
    found.find = lambda image: []
    assert adln.find_people(photo).shape == (0, 4)


def as_file(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def half_dark(mode: str) -> Image.Image:
    """A picture whose halves differ, so that a turn or a wrong range shows."""
    pixels = np.zeros((40, 20, 3), np.uint8)
    pixels[:20] = 220, 90, 30
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 100)
    image = Image.fromarray(pixels)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.where(pixels[..., 0] > 0, 60, 255).astype(np.uint8)))
    return image


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16", "on its side"])
def test_a_pil_image_is_embedded_like_its_file(foreign: Path, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6 if mode == "on its side" else 1
    data = as_file(half_dark(mode), "PNG", exif=exif)
    net = adln.load(foreign, mean=MEAN, std=STD)
    box = [[0, 0, 40, 10]] if mode == "on its side" else [[0, 0, 20, 10]]
    for boxes in (None, box):
        with Image.open(io.BytesIO(data)) as opened:
            np.testing.assert_array_equal(net.embed(opened, boxes), net.embed(data, boxes))


def test_a_closed_pil_image_is_refused_in_words(foreign: Path) -> None:
    opened = Image.open(io.BytesIO(as_file(half_dark("RGB"), "PNG")))
    opened.close()
    with pytest.raises(ImageError, match="picture"):
        adln.load(foreign, mean=MEAN, std=STD).embed(opened)


def test_one_picture_is_one_picture_in_every_form(foreign: Path, tmp_path: Path) -> None:
    import torch  # what is tested here has no need of it

    net = adln.load(foreign, mean=MEAN, std=STD)
    pixels = np.asarray(half_dark("RGB"))
    data = as_file(half_dark("RGB"), "PNG")
    path = tmp_path / "x.png"
    path.write_bytes(data)
    wanted = net.embed(pixels)
    tensor = torch.from_numpy(pixels.copy())
    encoded = np.frombuffer(data, np.uint8)
    with path.open("rb") as opened:
        for form in (memoryview(data), io.BytesIO(data), opened, tensor, encoded, np.str_(path)):
            np.testing.assert_array_equal(net.embed(form), wanted)
    several = net.embed(torch.stack([tensor, tensor]))
    np.testing.assert_array_equal(several, np.concatenate([wanted, wanted]))
    boxes = torch.tensor([[0.0, 0, 20, 40]], requires_grad=True)
    np.testing.assert_array_equal(net.embed(tensor, boxes), wanted)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (np.zeros((96, 48), np.uint8), "dstack"),
        (np.zeros((3, 96, 48), np.uint8), "transpose"),
        (np.zeros((96, 48, 4), np.uint8), r"\[:, :, :3\]"),
        (np.zeros((96, 48, 3)), "0..255"),
        (None, "NoneType"),
        (7, "int"),
        ("a\0b", "no path"),
        (io.StringIO("text"), "opened with 'rb', got one of str"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(foreign: Path, wrong: object, hint: str) -> None:
    net = adln.load(foreign, mean=MEAN, std=STD)
    for boxes in (None, [], [[0, 0, 9, 9]]):
        with pytest.raises(ImageError, match=hint) as refused:
            net.embed(wrong, boxes)
        assert len(str(refused.value)) < 300


def test_a_file_that_is_not_open_for_its_bytes_is_refused(foreign: Path, tmp_path: Path) -> None:
    net = adln.load(foreign, mean=MEAN, std=STD)
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with (
        (tmp_path / "a.png").open(encoding="utf-8") as opened,
        pytest.raises(ImageError, match=r"opened with 'rb'.*utf-8"),
    ):
        net.embed(opened)
    with pytest.raises(ImageError, match="closed file"):
        net.embed([opened])


def test_many_broken_pictures_make_a_short_message(foreign: Path) -> None:
    with pytest.raises(ImageError, match="and 997 more like these") as refused:
        adln.load(foreign, mean=MEAN, std=STD).embed([b"no picture"] * 1000)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "wrong",
    [
        np.ones((2, 6)),  # box, confidence and class: two rows are as many numbers as three boxes
        np.ones((4, 5)),
        np.ones((2, 2, 4)),
        np.arange(8.0),
        [[1, 2, 3], [1, 2, 3, 4]],
        "abc",
        SimpleNamespace(),
    ],
)
def test_boxes_of_another_shape_are_refused_and_not_cut_anew(foreign: Path, wrong: object) -> None:
    frame = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(ImageError, match="boxes"):
        adln.load(foreign, mean=MEAN, std=STD).embed(frame, wrong)


def test_without_boxes_of_any_form_nobody_is_embedded(foreign: Path) -> None:
    net = adln.load(foreign, mean=MEAN, std=STD, threads=2)
    frame = np.zeros((50, 50, 3), np.uint8)
    assert net.embed([]).shape == (0, 3)
    for none in ([], np.zeros(0), np.zeros((0, 6)), SimpleNamespace(xyxy=np.zeros((0, 4)))):
        assert net.embed(frame, none).shape == (0, 3)


def test_a_network_goes_to_another_process(foreign: Path) -> None:
    net = adln.load(foreign, mean=MEAN, std=STD, flip=True)
    there = pickle.loads(pickle.dumps(net))
    assert there.key == net.key
    np.testing.assert_array_equal(there.embed(picture()), net.embed(picture()))


def test_a_network_is_its_file_wherever_the_program_works(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(foreign.parent)
    net = adln.load(foreign.name, mean=MEAN, std=STD)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert net.path == foreign
    assert pickle.loads(pickle.dumps(net)).key == net.key


def test_a_forked_process_embeds_with_several_threads(foreign: Path) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        return
    net = adln.load(foreign, mean=MEAN, std=STD, threads=2)
    several = [picture(seed) for seed in range(6)]
    wanted = net.embed(several)  # the threads are there

    def work(answers: Any) -> None:
        answers.put(net.embed(several))

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that others' threads are not copied
        child = context.Process(target=work, args=(answers,))
        child.start()
    try:
        np.testing.assert_array_equal(answers.get(timeout=30), wanted)
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize(
    "wrong",
    [
        ([picture()], "abc"),
        ([picture()], np.zeros((1, 3))),
        ([picture()], np.full((1, 3), np.nan)),
        ([picture()], np.ones((1, 2048))),
        ([picture(), picture()], np.ones((1, 3))),
        ([], np.empty((0, 3))),
        ([b"no picture"], np.ones((1, 3))),
        ([picture()], np.ones((1, 3)), 1),
        7,
    ],
)
def test_a_reference_that_is_none_leaves_the_network_described_as_before(
    foreign: Path, wrong: Any
) -> None:
    for before in (False, True):
        if before:
            adln.describe_network(foreign, mean=MEAN, std=STD)
        text = sidecar(foreign).read_bytes() if before else None
        with pytest.raises((ModelFileError, ImageError)):
            adln.describe_network(foreign, mean=[0.9] * 3, std=STD, reference=wrong)
        assert (sidecar(foreign).read_bytes() if before else None) == text
        assert sidecar(foreign).is_file() == before


def test_an_interrupted_look_at_a_reference_leaves_the_network_as_it_was(foreign: Path) -> None:
    def interrupted() -> Iterator[Any]:
        assert not sidecar(foreign).exists()
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        adln.describe_network(foreign, reference=(interrupted(), np.ones((1, 3))))
    assert not sidecar(foreign).exists()


def test_a_reference_of_another_length_is_not_taken_for_wrong_colours(foreign: Path) -> None:
    with pytest.raises(ModelFileError, match=r"\(1, 3\).*\(1, 2048\)"):
        adln.describe_network(
            foreign, mean=MEAN, std=STD, reference=([picture()], np.ones((1, 2048)))
        )


def test_what_says_itself_how_it_wants_its_pixels_is_not_described(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="states its own pixel format"):
        adln.load("res1", mean=MEAN, std=STD)
    assert not sidecar(adln.load("res1").path).exists()


@pytest.mark.parametrize("name", ["", " ", None, 3])
def test_what_names_no_network_is_refused(name: Any) -> None:
    with pytest.raises(ModelFileError, match="name or file of a network"):
        adln.load(name)


@pytest.mark.parametrize(("name", "why"), [("a\0b", "is no path"), ("a" * 5000, "too long")])
def test_a_path_that_cannot_be_is_refused(name: str, why: str) -> None:
    with pytest.raises(ModelFileError, match=why):
        adln.load(name)


def test_a_folder_that_is_called_like_a_network_is_not_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "res1").mkdir()
    monkeypatch.chdir(tmp_path)
    assert adln.load("res1").path.name == "res1.onnx"


def test_a_file_that_is_described_anew_is_said_to_be_another_network_under_all_its_names(
    foreign: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adln.describe_network(foreign, mean=MEAN, std=STD, name="first")
    caplog.clear()
    adln.describe_network(foreign, mean=MEAN, std=STD, licence="MIT", name="again")
    assert not caplog.records
    adln.describe_network(foreign, mean=MEAN, std=STD, colours="bgr", name="second")
    (said,) = [one.getMessage() for one in caplog.records]
    assert "described with other pixels before (as again, first)" in said
    assert adln.load("first").key == adln.load("second").key


def test_openvino_files_that_do_not_belong_together_are_told_in_one_line(
    foreign: Path, tmp_path: Path
) -> None:
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "means.xml"
    openvino.save_model(openvino.Core().read_model(foreign), path)
    with pytest.raises(ModelFileError, match='the layout is "nchw"'):
        adln.describe_network(path, layout="nhwc")
    path.with_suffix(".bin").rename(tmp_path / "aside.bin")
    with pytest.raises(ModelFileError, match=r"its weights, means\.bin, are not beside it"):
        adln.describe_network(path)
    (tmp_path / "aside.bin").rename(path.with_suffix(".bin"))
    path.write_text("<net></net>")
    with pytest.raises(ModelFileError, match="belong together") as told:
        adln.describe_network(path)
    assert "\n" not in str(told.value)
