"""The manifest: what goes in comes out, and nothing that does not belong there is read."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from adln.errors import ModelFileError
from adln.manifest import Accuracy, Manifest, PairProof, Parity, Probe, map_name

MANIFEST = Manifest(
    depths=(2, 3),
    precision="int8",
    dim=2048,
    height_px=256,
    width_px=128,
    source_sha256="ab" * 32,
    adln_version="1.2.3",
    created_utc="2031-01-02T03:04:05Z",
    training_data="drawn people",
    calibration="200 crops",
    maps=(2,),
    parity=(
        Parity(depth=2, batch_size=7, crops=32, least=0.99, mean=0.995, first_percentile=0.99),
    ),
    accuracy=(
        Accuracy(
            dataset="drawn", depth=2, rank1=0.5, mean_ap=0.25, torch_rank1=0.5, torch_mean_ap=1
        ),
    ),
)


PROVED = replace(
    MANIFEST,
    dim=2,
    pairs=PairProof(products=27, largest_sum=32640, weights_sha256="cd" * 32),
    probe=Probe(seed=0, crops=3, least=0.99, answers=("A" * 16, "B" * 16)),
)


def text_with(**changes: Any) -> str:
    return json.dumps(asdict(MANIFEST) | changes)


def test_what_is_written_is_read() -> None:
    assert Manifest.from_json(MANIFEST.to_json(), source="a.onnx") == MANIFEST


def test_proof_and_probe_are_read_as_they_were_written() -> None:
    assert Manifest.from_json(PROVED.to_json(), source="a.onnx") == PROVED


@pytest.mark.parametrize("key", ["pairs", "probe"])
def test_a_damaged_proof_or_probe_is_refused(key: str) -> None:
    values = asdict(PROVED)
    del values[key][next(iter(values[key]))]
    with pytest.raises(ModelFileError, match=rf"manifest\.{key} lacks"):
        Manifest.from_json(json.dumps(values), source="a.onnx")


def test_optional_keys_may_be_missing() -> None:
    values = asdict(MANIFEST)
    for key in ("parity", "accuracy", "maps", "calibration", "licence", "starts_after", "spaces"):
        del values[key]
    assert Manifest.from_json(json.dumps(values), source="a.onnx").parity == ()


def test_a_depth_may_name_its_space() -> None:
    named = replace(MANIFEST, spaces=("0123456789abcdef", ""))
    assert Manifest.from_json(named.to_json(), source="a.onnx") == named
    assert (named.space_of(2), named.space_of(3), MANIFEST.space_of(2)) == (
        "0123456789abcdef",
        "",
        "",
    )
    with pytest.raises(ModelFileError, match="no depth 4"):
        named.space_of(4)
    for spaces in (("0123456789abcdef",), ("0123", "4567"), ("0123456789ABCDEF", "")):
        with pytest.raises(ModelFileError, match="16 hex digits"):
            replace(MANIFEST, spaces=spaces)


def test_outputs_are_numbered_only_if_there_are_several_depths() -> None:
    assert MANIFEST.output_names(3) == ("embedding_3", "norm_3")
    assert replace(MANIFEST, depths=(2,)).output_names(2) == ("embedding", "norm")


def test_the_input_is_the_crops_or_a_map() -> None:
    assert MANIFEST.input_names == ("crops",)
    assert replace(MANIFEST, starts_after=1).input_names == (map_name(1),) == ("map_1",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "Expecting"),
        ("[1]", "expected an object"),
        ("{}", "its format is None"),
        (text_with(format="adln-model-9"), "adln-model-9"),
        (text_with(colour="BGR"), "unknown keys"),
        (text_with(depths=[]), "depths"),
        (text_with(depths=[3, 2]), "depths"),
        (text_with(depths=[2, 5]), "depths"),
        (text_with(depths=2), "expected a list"),
        (text_with(depths=["2"]), r"depths\[0\]"),
        (text_with(dim=True), "dim"),
        (text_with(dim="2048"), "expected int"),
        (text_with(dim=0), "positive"),
        (text_with(precision="int4"), "int4"),
        (text_with(input_form="nchw"), "input_form"),
        (text_with(starts_after=2), "starts_after"),
        (text_with(maps=[2, 2]), "maps"),
        (text_with(parity=[{"depth": 2}]), r"parity\[0\] lacks"),
        (text_with(accuracy=[7]), r"accuracy\[0\] is 7"),
    ],
)
def test_a_wrong_manifest_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(ModelFileError, match=complaint) as caught:
        Manifest.from_json(text, source="a.onnx")
    assert str(caught.value).startswith("a.onnx:")
    assert "adln export" in str(caught.value)


def test_a_missing_key_is_named() -> None:
    values = asdict(MANIFEST)
    del values["height_px"]
    with pytest.raises(ModelFileError, match="height_px"):
        Manifest.from_json(json.dumps(values), source="a.onnx")
