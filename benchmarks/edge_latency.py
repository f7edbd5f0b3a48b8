r"""Times networks on one core, beside peers, in one run: the speed bars of the device side.

All networks are run in turns and in random order in one process, one crop at a time; what is
compared is the median of the CPU time, and what is promised are ratios, because milliseconds
belong to a machine and a day.

    python -m benchmarks.edge_latency \
        --model res1_fp32.onnx --model res1_int8.onnx ... --model res4_int8.onnx \
        --peer osnet_x1_0_fp32.onnx --peer osnet_x1_0_int8.onnx --peer mobilenetv2_fp32.onnx \
        --peer person-reidentification-retail-0277.xml ... \
        --openvino res2_fp32.onnx --openvino res2_int8.xml \
        --require res2_int8/res2_fp32=2.7 --require res2_int8/osnet_x1_0_int8=1.6 \
        --require-peak res2_int8=0.65 --pictures data/Market-1501/query --json edge.json

Peers are files: ONNX (run by onnxruntime) or OpenVINO's .xml (run by OpenVINO in f32, pip install
openvino). None of them is part of this project. `--openvino` runs any file, one of this project's
included, in OpenVINO as well; it is then called "NAME@openvino". An int8 file of this project
should be the .xml that `adln export` writes for OpenVINO: the .onnx is laid out for onnxruntime.

`--require A/B=2.7`: A takes at most 1/2.7 of B's time. `--require-peak A=0.65`: A reaches 65 % of
the machine's peak, the best rate of an onnxruntime convolution (3x3, 256 channels) or matrix
product (512) of the same precision in the same run. `--pictures`: how much of the time from JPEG
bytes to the embedding goes into decoding, resizing and normalising, for each model, picture by
picture with the network in between and eight pictures at a time; the limit is 5 % of Res2 in int8.
With simplejpeg installed (pip install simplejpeg) decoding takes a third of Pillow's time.
"""

import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import click
import numpy as np

from adln.bench.benchmark import BenchReport, count_steps, run_benchmark
from adln.bench.candidates import Candidate, OnnxCandidate, OpenVinoCandidate, open_peer
from adln.bench.operations import seconds_before_first_convolution
from adln.datasets.listing import image_files
from adln.embedders.pixels import PixelWriter
from adln.embedders.session import open_session
from adln.errors import AdlnError

PICTURES = 300
PICTURE_BATCHES = (1, 8)


@dataclass(frozen=True)
class PictureShare:
    """Where the time from JPEG bytes to an embedding goes; medians of CPU time.

    Attributes:
        batch_size: pictures decoded before the network runs; at 1 it has emptied the caches.
        decode_and_resize_ms: before the network.
        normalise_ms: nodes of the network before its first convolution.
        network_ms: the whole network.
        share: (decode_and_resize + normalise) / (network without normalising).
    """

    batch_size: int
    decode_and_resize_ms: float
    normalise_ms: float
    network_ms: float
    share: float


def ratio(text: str) -> tuple[str, str, float]:
    """Parse A/B=2.7."""
    names, _, number = text.rpartition("=")
    fast, slash, slow = names.partition("/")
    try:
        least = float(number)
    except ValueError:
        slash = ""
    if not slash:
        raise click.BadParameter(f"{text!r}: write FAST/SLOW=RATIO.")
    return fast, slow, least


def share_of_peak(text: str) -> tuple[str, float]:
    """Parse A=0.65."""
    name, equals, number = text.rpartition("=")
    if not equals:
        raise click.BadParameter(f"{text!r}: write NAME=SHARE.")
    return name, float(number)


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--model", "models", multiple=True, type=FILE, help="File of `adln export`.")
@click.option("--peer", "peers", multiple=True, type=FILE, help=".onnx or .xml of others.")
@click.option("--openvino", "openvino", multiple=True, type=FILE, help="Run by OpenVINO, f32.")
@click.option("--openvino-bf16", "bf16", multiple=True, type=FILE, help="By OpenVINO, bf16.")
@click.option("--rounds", default=25, show_default=True, help="Turns; five timed runs in each.")
@click.option("--threads", default=1, show_default=True)
@click.option("--base", help="Ratios are to this network; the first one if left out.")
@click.option("--require", "ratios", multiple=True, type=ratio, metavar="A/B=RATIO")
@click.option("--require-peak", "shares", multiple=True, type=share_of_peak, metavar="A=SHARE")
@click.option("--pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path))
def main(
    models: tuple[Path, ...],
    peers: tuple[Path, ...],
    openvino: tuple[Path, ...],
    bf16: tuple[Path, ...],
    rounds: int,
    threads: int,
    base: str | None,
    ratios: tuple[tuple[str, str, float], ...],
    shares: tuple[tuple[str, float], ...],
    pictures: Path | None,
    json_path: Path | None,
) -> None:
    """Time networks on one core, beside peers, in one run."""
    candidates: list[Candidate] = [
        *(OnnxCandidate(path, threads=threads, own=True) for path in models),
        *(open_peer(path, threads=threads) for path in peers),
        *(
            OpenVinoCandidate(path, threads=threads, name=f"{path.stem}@openvino")
            for path in openvino
        ),
        *(
            OpenVinoCandidate(
                path, threads=threads, precision="bf16", name=f"{path.stem}@openvino-bf16"
            )
            for path in bf16
        ),
    ]
    steps = count_steps(len(candidates), rounds=rounds, batches=())
    with click.progressbar(length=steps, label="measuring", file=sys.stderr) as bar:
        report = run_benchmark(
            candidates,
            threads=threads,
            rounds=rounds,
            batches=(),
            cold_starts=0,
            seed=int(time.time()),
            on_progress=bar.update,
        )
    failures = print_times(report, base or report.rows[0].name, ratios, shares)
    picture_shares = {}
    if pictures is not None:
        for path, batch_size in product(models, PICTURE_BATCHES):
            found = picture_share(path, pictures, batch_size)
            picture_shares[f"{path.stem} at {batch_size}"] = found
            click.echo(
                f"{path.stem}, {batch_size} at a time: decode and resize "
                f"{found.decode_and_resize_ms:.3f} ms + normalise {found.normalise_ms:.3f} ms "
                f"= {found.share:.1%} of the network"
            )
    if json_path is not None:
        content = asdict(report)
        for row in content["rows"]:
            row["accuracy"] = []
        content["picture_shares"] = {name: asdict(s) for name, s in picture_shares.items()}
        content["load_at_end"] = os.getloadavg()[0]
        json_path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if failures:
        raise SystemExit(1)


def print_times(
    report: BenchReport,
    base: str,
    ratios: tuple[tuple[str, str, float], ...],
    shares: tuple[tuple[str, float], ...],
) -> int:
    """Print the table and the bars; returns how many bars were missed."""
    cpu = {row.name: row.cpu_ms for row in report.rows}
    peak = {row.name: row.peak_share or 0.0 for row in report.rows}
    asked = {base, *(name for pair in ratios for name in pair[:2]), *(name for name, _ in shares)}
    if asked - cpu.keys():
        raise SystemExit(f"not timed: {sorted(asked - cpu.keys())}; timed: {sorted(cpu)}")
    click.echo(f"{report.machine}; {report.threads} thread(s); load at start {report.load}")
    for best in report.peaks.values():
        click.echo(f"peak {best.precision}: {best.operations_per_s / 1e9:.0f} G/s ({best.kernel})")
    width = max(map(len, cpu))
    click.echo(
        f"{'network':{width}}  {'prec.':5}  {'GMACs':>6}  {'MB':>6}  {'CPU ms':>7}  {'p50 ms':>7}"
        f"  {'p95 ms':>7}  {'of peak':>7}  times as fast as {base}"
    )
    for row in report.rows:
        macs = f"{row.macs / 1e9:6.3f}" if row.macs else f"{'-':>6}"
        share = f"{row.peak_share:7.0%}" if row.peak_share else f"{'-':>7}"
        click.echo(
            f"{row.name:{width}}  {row.precision:5}  {macs}  {row.file_bytes / 1e6:6.2f}"
            f"  {row.cpu_ms:7.2f}  {row.p50_ms:7.2f}  {row.p95_ms:7.2f}  {share}"
            f"  {cpu[base] / row.cpu_ms:.2f}"
        )
    missed = 0
    for fast, slow, least in ratios:
        reached = cpu[slow] / cpu[fast]
        missed += reached < least
        verdict = "MISSED" if reached < least else "reached"
        click.echo(f"{verdict}: {fast} is {reached:.2f} times as fast as {slow}, bar {least}")
    for name, least in shares:
        missed += peak[name] < least
        verdict = "MISSED" if peak[name] < least else "reached"
        click.echo(f"{verdict}: {name} at {peak[name]:.0%} of the peak, bar {least:.0%}")
    return missed


def picture_share(path: Path, folder: Path, batch_size: int) -> PictureShare:
    """Embed pictures batch by batch and see where the time goes, for each picture."""
    model = open_session(path)
    manifest = model.manifest
    size = manifest.height_px, manifest.width_px
    writer = PixelWriter(height_px=size[0], width_px=size[1])
    files = image_files(folder)
    chosen = np.random.default_rng(0).permutation(len(files))[:PICTURES]
    contents = [files[index].read_bytes() for index in chosen]
    batch = np.empty((batch_size, *size, 3), dtype=np.uint8)
    feeds = {manifest.input_names[0]: batch}
    outputs = [manifest.output_names(depth)[0] for depth in manifest.depths]
    before, inside = [], []
    for start in range(0, len(contents) - batch_size + 1, batch_size):
        began = time.thread_time()
        for slot, content in zip(batch, contents[start : start + batch_size], strict=True):
            writer.write(content, slot, name="picture")
        ready = time.thread_time()
        model.session.run(outputs, feeds)
        before.append((ready - began) / batch_size)
        inside.append((time.thread_time() - ready) / batch_size)
    # The first pictures pay for what is set up once.
    preparing, network = statistics.median(before[1:]), statistics.median(inside[1:])
    normalising = seconds_before_first_convolution(path, feeds) / batch_size
    return PictureShare(
        batch_size=batch_size,
        decode_and_resize_ms=1e3 * preparing,
        normalise_ms=1e3 * normalising,
        network_ms=1e3 * network,
        share=(preparing + normalising) / (network - normalising),
    )


if __name__ == "__main__":
    try:
        main()
    except AdlnError as error:
        raise SystemExit(f"error: {error}") from error
