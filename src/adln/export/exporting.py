"""Exports a trained network: trace, convert, validate, and only then write the file.

For Sec. III.C of the paper, which deploys Res1 to Res4 on edge devices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln import __version__
from adln.atomic import file_sha256, folder_beside, require_writable, suffix_of
from adln.datasets.split import ReidDataset
from adln.embedders.deeper import ChainedEmbedder
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.ncnn_embedder import NcnnEmbedder
from adln.embedders.openvino_embedder import OpenVinoEmbedder
from adln.embedders.proving import Answers, draw_probe, write_probe
from adln.embeddings import Embedder
from adln.errors import ExportError, ParityError
from adln.export import ncnn, openvino
from adln.export.calibration import ChosenCrops, choose_crops
from adln.export.emulation import require_agreement
from adln.export.parity import (
    BATCH_SIZES,
    measure_accuracy,
    measure_parity,
    require_accuracy,
    require_parity,
)
from adln.export.precision import to_half, to_int8
from adln.export.rewriting_int8 import rewrite_int8
from adln.export.rounding import round_weights
from adln.export.saturation import prove
from adln.export.spaces import name_space
from adln.export.splitting import Part, split
from adln.export.tracing import trace
from adln.manifest import METADATA_KEY, Accuracy, Manifest, Parity, Precision
from adln.model.checkpoint import joined_data, load_network, stated_data
from adln.model.embedder import TorchEmbedder
from adln.model.network import ADLN

SUFFIXES = (".onnx", openvino.SUFFIX, ncnn.SUFFIX)
# Parts that int8 keeps in float, tried in this order until the gate passes: errors of the first
# layers propagate through all others.
FLOAT_PARTS: tuple[tuple[str, ...], ...] = ((), ("stem",), ("stem", "stages.1"))


@dataclass(frozen=True)
class ExportedFile:
    """A file that passed the gate, and its manifest with the results of the gate."""

    path: Path
    manifest: Manifest


def export_network(
    network_path: Path,
    out: Path,
    *,
    depths: Sequence[int],
    precision: Precision = "fp32",
    calibrate: Path | Sequence[Path] | None = None,
    dataset: ReidDataset | None = None,
    split_files: bool = False,
    licence: str = "",
    on_step: Callable[[str], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[ExportedFile, ...]:
    """Export a network of `adln train` at one depth or several; the files are ascending by depth.

    Args:
        network_path: the network.
        out: file to write, .onnx, .xml (OpenVINO) or .param (ncnn); only if the parity gate passes.
        depths: 1 to 4; several give one file that computes all of them in one pass.
        precision: "fp32", "fp16" or "int8".
        calibrate: folder of crops, data set, or pictures of people, for calibration and gate;
            required for int8. If None, the gate uses synthetic crops.
        dataset: data set on which to compare Rank-1 and mAP, too.
        split_files: write a file for each depth, "<name>-<depth>", each continuing from the feature
            map that the previous one outputs.
        licence: stored in the manifest.
        on_step: called with a description of each step.
        on_progress: called with the number of pictures just embedded for Rank-1 and mAP.

    Raises:
        CheckpointError: the network is missing or truncated, or has no such exit.
        ExportError: the target cannot be written, or int8 has no or too few crops.
        ParityError: the file's outputs differ from the network's.
        ImageError: a picture for calibration is damaged; the message names it.
    """
    say = on_step or (lambda _: None)
    depths = tuple(sorted(set(depths)))
    _check_request(out, depths, precision, calibrate, split_files)
    network = load_network(network_path, exits=depths)
    architecture = network.architecture
    crops = choose_crops(
        calibrate, height_px=architecture.height_px, width_px=architecture.width_px
    )
    manifest = Manifest(
        depths=depths,
        precision=precision,
        dim=architecture.embedding_dim,
        height_px=architecture.height_px,
        width_px=architecture.width_px,
        source_sha256=file_sha256(network_path, raises=ExportError, expected="a network file"),
        adln_version=__version__,
        created_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        training_data=joined_data(
            stated_data(network_path), *(crops.datasets if precision == "int8" else ())
        ),
        licence=licence,
        input_form=ncnn.INPUT_FORM if suffix_of(out) == ncnn.SUFFIX else "uint8_rgb_nhwc",
        spaces=tuple(name_space(network, depth) for depth in depths),
    )
    say(f"tracing {_names(depths)}")
    maps = depths[:-1] if split_files else ()
    names = [name for depth in depths for name in manifest.output_names(depth)]
    traced = trace(network, names, maps=maps, input_form=manifest.input_form)
    write = partial(_write, network, crops=crops, dataset=dataset, split_files=split_files)
    if precision != "int8":
        # pnnx converts the weights to half precision itself.
        is_half = precision == "fp16" and suffix_of(out) != ncnn.SUFFIX
        model = to_half(traced) if is_half else traced
        return write(model, manifest, out, say=say, on_progress=on_progress)
    for in_float in FLOAT_PARTS:
        model = to_int8(traced, crops.calibration, in_float=in_float)
        if suffix_of(out) == ".onnx":
            # Other runtimes recognise, and run faster, the graph as written by quantisers.
            rewrite_int8(model, traced)
        say(f"rounding the weights of {_names(depths)}")
        round_weights(model, traced, crops.calibration)
        calibration = ", ".join([crops.description, *(f"{part} in float" for part in in_float)])
        attempt = replace(manifest, calibration=calibration)
        try:
            return write(model, attempt, out, say=say, on_progress=on_progress)
        except ParityError as error:
            if in_float == FLOAT_PARTS[-1]:
                raise
            say(f"{error} Trying again with more of the first layers in float.")
    raise AssertionError("the loop returns or raises")


def _write(
    network: ADLN,
    model: ir.Model,
    manifest: Manifest,
    out: Path,
    *,
    crops: ChosenCrops,
    dataset: ReidDataset | None,
    split_files: bool,
    say: Callable[[str], None],
    on_progress: Callable[[int], None] | None,
) -> tuple[ExportedFile, ...]:
    """Write the files beside the target, validate them, and only then rename them."""
    depths = manifest.depths
    if manifest.precision == "int8":
        prove(model)
        say("comparing with other processors")
        names = [manifest.output_names(depth)[0] for depth in depths]
        require_agreement(model, np.concatenate([draw_probe(manifest), crops.gate[:4]]), names)
    parts = split(model, depths) if split_files else (Part(model, depths),)
    with folder_beside(out, raises=ExportError) as folder:
        staged: list[tuple[Part, ExportedFile]] = []
        for part in parts:
            name = f"{out.stem}-{part.depths[0]}{out.suffix}" if split_files else out.name
            own = replace(
                manifest,
                depths=part.depths,
                spaces=tuple(map(manifest.space_of, part.depths)),
                starts_after=part.starts_after,
                maps=part.maps,
                sums=part.sums,
                pairs=prove(part.model) if manifest.precision == "int8" else None,
            )
            staged.append((part, ExportedFile(folder / name, own)))
            _save(part.model, own, folder / name)
        say(f"comparing with torch on {len(crops.gate)} crops ({crops.description})")
        paths = [file.path for _, file in staged]
        parity, accuracy, probe = _judge(
            network, paths, manifest, crops.gate, dataset, say, on_progress
        )
        files = []
        for part, file in staged:
            proven = replace(
                file.manifest,
                parity=tuple(row for row in parity if row.depth in part.depths),
                accuracy=tuple(row for row in accuracy if row.depth in part.depths),
                probe=write_probe(part.depths, *probe),
            )
            if suffix_of(out) == ncnn.SUFFIX:
                ncnn.write_manifest(proven, file.path)
            else:
                _save(part.model, proven, file.path)
            files.append(ExportedFile(out.with_name(file.path.name), proven))
        for path in sorted(folder.iterdir()):
            path.replace(out.with_name(path.name))
    return tuple(files)


def _judge(
    network: ADLN,
    paths: Sequence[Path],
    manifest: Manifest,
    crops: NDArray[np.uint8],
    dataset: ReidDataset | None,
    say: Callable[[str], None],
    on_progress: Callable[[int], None] | None,
) -> tuple[tuple[Parity, ...], tuple[Accuracy, ...], tuple[Answers, Answers]]:
    """Compare embeddings, flip test, Rank-1 and mAP; also returns both outputs for the probe."""

    def open_candidate(batch_size: int) -> Embedder:
        if len(paths) > 1:
            return ChainedEmbedder(paths, batch_size=batch_size)
        if suffix_of(paths[0]) == openvino.SUFFIX:
            return OpenVinoEmbedder(paths[0], manifest, batch_size=batch_size)
        if suffix_of(paths[0]) == ncnn.SUFFIX:
            return NcnnEmbedder(paths[0])
        return OnnxEmbedder(paths[0], threads=1, batch_size=batch_size)

    reference = TorchEmbedder(network, device="cpu", flip=False)
    parity = measure_parity(reference, open_candidate, crops)
    require_parity(parity, manifest.precision)
    if len(paths) == 1 and isinstance(open_candidate(1), OnnxEmbedder):
        # The flip test also needs the norm, which the file outputs.
        flipping = measure_parity(
            TorchEmbedder(network, device="cpu", flip=True),
            lambda batch_size: OnnxEmbedder(paths[0], threads=1, batch_size=batch_size, flip=True),
            crops[: BATCH_SIZES[-1]],
            batch_sizes=BATCH_SIZES[-1:],
        )
        require_parity(flipping, manifest.precision)
    drawn = draw_probe(manifest)
    probe = reference.embed(drawn), open_candidate(len(drawn)).embed(drawn)
    if dataset is None:
        return parity, (), probe
    say(f"comparing Rank-1 and mAP on {dataset.name}")
    accuracy = measure_accuracy(reference, open_candidate(1), dataset, on_progress=on_progress)
    require_accuracy(accuracy)
    return parity, accuracy, probe


def _check_request(
    out: Path,
    depths: Sequence[int],
    precision: Precision,
    calibrate: Path | Sequence[Path] | None,
    split_files: bool,
) -> None:
    if suffix_of(out) not in SUFFIXES:
        raise ExportError(f"{out}: the name must end in {' or '.join(SUFFIXES)}.")
    require_writable(out, raises=ExportError)
    if suffix_of(out) == ncnn.SUFFIX:
        ncnn.require_possible(depths, precision)
    if precision == "int8" and calibrate is None:
        raise ExportError(
            "int8 needs crops for calibration: name a folder of crops or a data set (--calibrate)."
        )
    if precision == "fp16" and suffix_of(out) == openvino.SUFFIX:
        raise ExportError("OpenVINO chooses half precision at run time; export fp32 for it.")
    if split_files and (len(depths) < 2 or suffix_of(out) != ".onnx"):
        raise ExportError("split files need two depths or more, and .onnx.")


def _save(model: ir.Model, manifest: Manifest, path: Path) -> None:
    if suffix_of(path) == openvino.SUFFIX:
        openvino.save(model, manifest, path)
        return
    if suffix_of(path) == ncnn.SUFFIX:
        ncnn.save(model, manifest, path)
        return
    model.metadata_props[METADATA_KEY] = manifest.to_json()
    model.producer_name, model.producer_version = "adln", manifest.adln_version
    ir.save(model, path)


def _names(depths: Sequence[int]) -> str:
    return ", ".join(f"Res{depth}" for depth in depths)
