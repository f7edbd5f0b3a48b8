"""A device that answers wrongly is found out when a file is opened."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adln.embedders.deeper import ChainedEmbedder, DeeperEmbedder
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.proving import Answers, draw_probe, find_verdict, run_alone, write_probe
from adln.embedders.session import OpenModel, open_session
from adln.errors import DeviceError, ModelFileError
from adln.manifest import Manifest, Probe

MakeModel = Callable[..., Path]
MakePair = Callable[..., tuple[Path, Path]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def probe_of(path: Path) -> Probe:
    """The probe of a file that answers rightly here."""
    model = open_session(path)
    answers = run_alone(model)(draw_probe(model.manifest))
    return write_probe(model.manifest.depths, answers, answers)


def wrong(probe: Probe) -> Probe:
    """The same with the answers of one crop taken from another network."""
    rows = np.random.default_rng(0).standard_normal((probe.crops, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    other = write_probe((1,), {1: rows}, {1: rows})
    return replace(probe, answers=(*probe.answers[1:], *other.answers))


def not_called(crops: NDArray[np.uint8]) -> Answers:
    raise AssertionError("tried again")


def test_a_file_that_answers_as_it_should_is_proved(make_model: MakeModel) -> None:
    probe = probe_of(make_model("bare.onnx", depths=(1, 2)))
    embedder = OnnxEmbedder(make_model(depths=(1, 2), says={"probe": probe}))
    assert embedder.verdict.proved
    assert embedder.verdict.text == "proved"


def test_a_file_that_answers_otherwise_is_refused_with_advice(make_model: MakeModel) -> None:
    probe = wrong(probe_of(make_model("bare.onnx", depths=(1, 2))))
    path = make_model(depths=(1, 2), says={"probe": probe})
    for _ in range(2):
        with pytest.raises(
            DeviceError, match=r"tiny\.onnx: wrong outputs on this device .*--precision fp32"
        ):
            OnnxEmbedder(path)


def test_a_file_without_a_probe_works_and_is_called_unproved(make_model: MakeModel) -> None:
    embedder = OnnxEmbedder(make_model())
    assert not embedder.verdict.proved
    assert embedder.verdict.text == "unproved: no probe in the file"
    assert embedder.embed(np.zeros((1, 256, 128, 3), np.uint8))[2].shape == (1, 16)


def test_a_file_is_tried_once_for_each_file_and_runtime(make_model: MakeModel, cache: Path) -> None:
    probe = probe_of(make_model("bare.onnx"))
    model = open_session(make_model(says={"probe": probe}))
    assert find_verdict([model], run_alone(model)).proved
    assert len(list(cache.rglob("*"))) == 3  # two folders and one verdict
    assert find_verdict([model], not_called).proved
    for other in (
        replace(model, sha256="0" * 64),
        replace(model, runtime=("9.9.9", model.runtime[1])),
        replace(model, runtime=(model.runtime[0], "CUDAExecutionProvider")),
    ):
        with pytest.raises(AssertionError, match="tried again"):
            find_verdict([other], not_called)


def test_a_cache_that_cannot_be_written_is_no_obstacle(make_model: MakeModel, cache: Path) -> None:
    probe = probe_of(make_model("bare.onnx"))
    cache.write_text("a file where a folder should be")
    path = make_model(says={"probe": probe})
    assert OnnxEmbedder(path).verdict.proved
    assert OnnxEmbedder(path).verdict.proved


def test_a_wrong_answer_is_not_remembered(make_model: MakeModel, cache: Path) -> None:
    probe = probe_of(make_model("bare.onnx"))
    model = open_session(make_model(says={"probe": probe}))
    found = find_verdict([model], lambda crops: {2: -run_alone(model)(crops)[2]})
    assert not found.proved
    assert found.text.startswith("wrong: cosine -1.0000")
    assert not cache.exists()
    found = find_verdict([model], lambda crops: {2: np.full((len(crops), 16), np.nan, "f4")})
    assert not found.proved


def test_a_file_that_goes_on_from_another_is_tried_behind_it(make_pair: MakePair) -> None:
    shallow, deep = make_pair()
    first = OnnxEmbedder(shallow)
    crops = draw_probe(first.manifest)
    maps = first.embed_with_maps(crops)[1]
    answers = DeeperEmbedder(deep, first).embed(maps[1])
    probe = write_probe((2,), answers, answers)
    shallow, deep = make_pair(probe=probe)
    part = DeeperEmbedder(deep, OnnxEmbedder(shallow))
    assert part.verdict.proved
    assert [model.path for model in part.models] == [shallow, deep]
    # One of the two has no probe.
    assert not ChainedEmbedder([shallow, deep], batch_size=2).verdict.proved
    shallow, deep = make_pair(probe=write_probe((2,), {2: -answers[2]}, {2: -answers[2]}))
    with pytest.raises(DeviceError, match=r"deep\.onnx"):
        DeeperEmbedder(deep, OnnxEmbedder(shallow))


@pytest.mark.parametrize(
    "changes", [{"crops": 0}, {"crops": 65}, {"answers": ()}, {"answers": ("AAAA",)}]
)
def test_a_probe_that_does_not_fit_its_file_is_refused(
    make_model: MakeModel, changes: dict[str, Any]
) -> None:
    model: OpenModel = open_session(make_model())
    manifest: Manifest = model.manifest
    probe = replace(probe_of(model.path), **changes)
    with pytest.raises(ModelFileError, match="1 to 64 crops"):
        replace(manifest, probe=probe)
