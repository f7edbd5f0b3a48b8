r"""Runs onnxruntime's kernels of x86 processors without VNNI, at full speed, on one that has it.

    python -m benchmarks.without_vnni measure --fp32 res1_fp32.onnx --fp32 res2_fp32.onnx \
        --old older_res2.onnx --data data/Market-1501-v15.09.15 --json without_vnni.json
    python -m benchmarks.without_vnni run -- python -m pytest tests/export

onnxruntime asks the processor once for its instructions and chooses its kernels accordingly;
`mask_cpuid.py` hides AVX-512, VNNI and AMX from it by means of gdb, so that what remains is AVX2.
That the kernels are the others is put to the test: sums of two products of bytes saturate there.

`measure` compares, with the instructions hidden and as the processor is:

- Answers of int8 networks with exact ones (graph optimisations off): cosines, on crops of a data
  set and on drawn people. Bars: least 0.99, mean 0.999, as `adln export` has them.
- Times of one crop on one core, in turns and in random order: int8 is at least 1.6 times as fast
  as the same depth in float32 (`--fp32`), and has at least 0.95 of the speed of an older int8 file
  of that depth (`--old`, whose cosines are shown and need not be good). Times are CPU time; ratios
  are medians over the rounds.

`run` runs any command in this way; processes that it starts see the processor as it is. Needed:
Linux on x86-64, gdb with Python, objdump.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln.bench.benchmark import describe_machine
from adln.bench.kernels import one_operator
from adln.bench.measuring import time_in_turns
from adln.datasets.catalogue import open_dataset
from adln.datasets.loading import load_crops
from adln.embedders.session import OpenModel, open_session
from adln.embedders.shipped import SHIPPED
from adln.errors import AdlnError
from adln.export.emulation import LEAST_AGREEMENT, MEAN_AGREEMENT, run_graph
from adln.manifest import CROPS
from adln.scenes.synthetic import Plan, draw_dataset

TIMES_FLOAT, TIMES_OLD = 1.6, 0.95
MASK = Path(__file__).with_name("mask_cpuid.py")
HIDDEN_LINE = "hidden from onnxruntime: "
REPEATS = 5
BATCH = 50
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class Network:
    """A network file and what it is here for.

    Attributes:
        name: as it was called on the command line.
        path: the file.
        role: "int8", "fp32" or "old".
        depth: 1-4.
        size: height and width of its crops in px.
        output: name of its embedding.
    """

    name: str
    path: Path
    role: str
    depth: int
    size: tuple[int, int]
    output: str


@dataclass(frozen=True, eq=False)
class Found:
    """What a process found.

    Attributes:
        kernels: "without VNNI" or "with VNNI", as put to the test.
        hidden: instructions that were hidden from onnxruntime, in words.
        times_ms: path -> (R,) median CPU time of each round.
        answers: path and name of a set of crops -> (N, D), unit length.
    """

    kernels: str
    hidden: str
    times_ms: dict[str, NDArray[np.float64]]
    answers: dict[tuple[str, str], NDArray[np.float32]]


@dataclass(frozen=True)
class Bar:
    """A figure and what it must reach.

    Attributes:
        kernels: with which it was found.
        what: in words.
        value: the figure.
        least: what it must reach; None if it is only shown.
    """

    kernels: str
    what: str
    value: float
    least: float | None

    @property
    def missed(self) -> bool:
        """Whether it was not reached; a NaN was not."""
        return self.least is not None and not self.value >= self.least

    def __str__(self) -> str:
        bar = "" if self.least is None else f"{self.least:g} {'MISSED' if self.missed else ''}"
        return f"{self.value:8.5f}  {bar:12}  {self.what}".rstrip()


@click.group()
def main() -> None:
    """Run onnxruntime as on x86 processors without VNNI."""


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True)
def run(command: tuple[str, ...]) -> None:
    """Run a command; its exit code is this one's, or 125 if nothing was hidden from it."""
    raise SystemExit(subprocess.run(without_vnni(command), check=False).returncode)


@main.command()
@click.option("--int8", default=SHIPPED, show_default=True, multiple=True, help="File or name.")
@click.option("--fp32", multiple=True, type=FILE, help="The same depth in float32.")
@click.option("--old", multiple=True, type=FILE, help="Older int8 file of the same depth.")
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="Besides drawn people.")
@click.option("--crops", default=1000, show_default=True, help="From each set of people.")
@click.option("--rounds", default=60, show_default=True, help=f"Turns; {REPEATS} runs in each.")
@click.option("--seed", default=0, show_default=True, help="Of the crops and of the order.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path))
def measure(
    int8: tuple[str, ...],
    fp32: tuple[Path, ...],
    old: tuple[Path, ...],
    data: Path | None,
    crops: int,
    rounds: int,
    seed: int,
    json_path: Path | None,
) -> None:
    """Compare answers and times, with and without VNNI."""
    networks = [
        *(describe(name, "int8") for name in int8),
        *(describe(str(path), "fp32") for path in fp32),
        *(describe(str(path), "old") for path in old),
    ]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_crops(work, networks, data, crops, seed)
        found = [measure_apart(work, networks, rounds, seed, hide=False)]
        if found[0].kernels == "with VNNI":
            found.insert(0, measure_apart(work, networks, rounds, seed, hide=True))
        exact = compute_exactly(work, networks)
    bars = []
    click.echo(f"{describe_machine()}; load at start {load:.1f}; seed {seed}")
    for process in found:
        click.echo(f"\nkernels {process.kernels}; hidden: {process.hidden}")
        rows = [*compare_answers(networks, process, exact), *compare_times(networks, process)]
        click.echo(f"{'figure':>8}  {'bar':12}")
        for row in rows:
            click.echo(str(row))
        bars += rows
    if json_path is not None:
        content = {
            "machine": describe_machine(),
            "load": load,
            "seed": seed,
            "hidden": {process.kernels: process.hidden for process in found},
            "ms": {
                process.kernels: {
                    path: float(np.median(ms)) for path, ms in process.times_ms.items()
                }
                for process in found
            },
            "figures": [asdict(bar) for bar in bars],
        }
        json_path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if any(bar.missed for bar in bars):
        raise SystemExit(1)


@main.command(hidden=True)
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, type=FILE)
@click.option("--rounds", type=int, required=True)
@click.option("--seed", type=int, required=True)
def answer(work: Path, files: tuple[Path, ...], rounds: int, seed: int) -> None:
    """Inside a process of its own: let all networks answer to all crops, and time them."""
    models = [open_session(path, threads=1) for path in files]
    answers = {}
    for index, model in enumerate(models):
        for crop_file in crop_files(work, size_of(model)):
            crops = np.load(crop_file)
            rows = [embed(model, crops[at : at + BATCH]) for at in range(0, len(crops), BATCH)]
            answers[f"{index} {crop_file.name}"] = np.concatenate(rows)
    np.savez(work / "answers.npz", allow_pickle=False, **answers)

    ones = {size: np.load(crop_files(work, size)[0])[:1] for size in map(size_of, models)}
    tasks = {
        str(model.path): partial(embed, model, ones[size_of(model)].copy()) for model in models
    }
    times = time_in_turns(tasks, rounds=rounds, repeats=REPEATS, seed=seed)
    content = {
        "kernels": "without VNNI" if saturates() else "with VNNI",
        "times_ms": {
            path: (1e3 * np.median(found.cpu_s.reshape(rounds, REPEATS), axis=1)).tolist()
            for path, found in times.items()
        },
    }
    (work / "found.json").write_text(json.dumps(content), encoding="utf-8")


def without_vnni(command: Sequence[str]) -> list[str]:
    """The command that runs another one with instructions hidden from onnxruntime."""
    for tool in ("gdb", "objdump"):
        if shutil.which(tool) is None:
            raise click.ClickException(f"{tool} is needed; install gdb and binutils.")
    program = shutil.which(command[0])
    if program is None:
        raise click.ClickException(f"{command[0]}: there is no such program.")
    quiet = ["-nx", "-q", "-batch-silent", "-iex", "set auto-load python-scripts off"]
    return ["gdb", *quiet, "-x", str(MASK), "--args", program, *command[1:]]


def measure_apart(
    work: Path, networks: Sequence[Network], rounds: int, seed: int, *, hide: bool
) -> Found:
    """Start a process that answers and takes times; read what it found.

    Raises:
        click.ClickException: it failed, or its kernels are not those that were wanted.
    """
    click.echo(f"answers and times{' with instructions hidden' if hide else ''}", err=True)
    files = [str(network.path) for network in networks]
    command = [sys.executable, "-m", "benchmarks.without_vnni", "answer", str(work), *files]
    command += [f"--rounds={rounds}", f"--seed={seed}"]
    done = subprocess.run(
        without_vnni(command) if hide else command, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise click.ClickException(f"exit code {done.returncode}:\n{done.stderr}")
    content = json.loads((work / "found.json").read_text(encoding="utf-8"))
    if hide and content["kernels"] != "without VNNI":
        raise click.ClickException(f"onnxruntime still uses VNNI; {done.stderr}")
    lines = [line for line in done.stderr.splitlines() if line.startswith(HIDDEN_LINE)]
    with np.load(work / "answers.npz") as archive:
        answers = {}
        for key in archive.files:
            index, _, crops = key.partition(" ")
            answers[files[int(index)], crops] = archive[key]
    return Found(
        kernels=content["kernels"],
        hidden=lines[0].removeprefix(HIDDEN_LINE) if hide else "nothing",
        times_ms={path: np.array(ms) for path, ms in content["times_ms"].items()},
        answers=answers,
    )


def compare_answers(
    networks: Sequence[Network], found: Found, exact: dict[tuple[str, str], NDArray[np.float32]]
) -> list[Bar]:
    """Cosines of int8 networks to their exact answers."""
    bars = []
    for network in networks:
        for (path, crops), expected in exact.items():
            if path != str(network.path):
                continue
            answers = found.answers[path, crops].astype(np.float64)
            cosines = np.vecdot(answers, expected.astype(np.float64))
            what = f"{network.name}: cosine to exact answers, {len(cosines)} {Path(crops).stem}"
            bound = network.role == "int8"
            bars += [
                Bar(found.kernels, f"{what}, {word}", float(value), least if bound else None)
                for word, value, least in (
                    ("mean", cosines.mean(), MEAN_AGREEMENT),
                    ("least", cosines.min(), LEAST_AGREEMENT),
                )
            ]
    return bars


def compare_times(networks: Sequence[Network], found: Found) -> list[Bar]:
    """How much faster int8 networks are than others of their depth."""
    bars = []
    for network in networks:
        ms = found.times_ms[str(network.path)]
        if network.role != "int8":
            continue
        for other in networks:
            if other.depth != network.depth or other.role == "int8":
                continue
            other_ms = found.times_ms[str(other.path)]
            what = (
                f"{network.name} ({np.median(ms):.2f} ms): times as fast as {other.name} "
                f"({np.median(other_ms):.2f} ms)"
            )
            least = TIMES_FLOAT if other.role == "fp32" else TIMES_OLD
            bars.append(Bar(found.kernels, what, float(np.median(other_ms / ms)), least))
    return bars


def compute_exactly(
    work: Path, networks: Sequence[Network]
) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Answers of int8 networks without graph optimisations: (path, crops) -> (N, D)."""
    exact = {}
    for network in networks:
        if network.role == "fp32":
            continue
        click.echo(f"exact answers of {network.name}", err=True)
        model = ir.load(network.path)
        for file in crop_files(work, network.size):
            crops = np.load(file)
            rows = [
                run_graph(model, crops[at : at + BATCH], [network.output], exact=True)[0]
                for at in range(0, len(crops), BATCH)
            ]
            exact[str(network.path), file.name] = np.concatenate(rows)
    return exact


def write_crops(
    work: Path, networks: Sequence[Network], data: Path | None, count: int, seed: int
) -> None:
    """Choose crops of a data set's gallery and of drawn people, in all sizes that are needed."""
    sets = {"drawn people": draw_dataset(work / "drawn", Plan(num_test_persons=100, seed=seed))}
    if data is not None:
        dataset = open_dataset(data)
        sets[f"crops of {dataset.name}"] = dataset
    for name, dataset in sets.items():
        gallery = dataset.gallery
        chosen = np.random.default_rng(seed).permutation(len(gallery))[:count]
        if len(chosen) < count:
            raise click.ClickException(f"{name}: {len(gallery)}, but {count} were asked for.")
        for height, width in {network.size for network in networks}:
            crops = load_crops(
                gallery.select(chosen).paths, height_px=height, width_px=width, workers=1
            )
            folder = work / f"{height}x{width}"
            folder.mkdir(exist_ok=True)
            np.save(folder / f"{name}.npy", crops)


def crop_files(work: Path, size: tuple[int, int]) -> list[Path]:
    """The files of `write_crops` for one size."""
    return sorted((work / f"{size[0]}x{size[1]}").glob("*.npy"))


def describe(name: str, role: str) -> Network:
    """Look at a file, or at a network that is known by name.

    Raises:
        click.ClickException: it is not what `role` says, or has several depths.
    """
    model = open_session(name)
    wanted = "fp32" if role == "fp32" else "int8"
    if model.manifest.precision != wanted or len(model.manifest.depths) != 1:
        raise click.ClickException(f"{name}: expected one depth in {wanted}.")
    depth = model.manifest.depths[0]
    return Network(name, model.path, role, depth, size_of(model), output_of(model))


def embed(model: OpenModel, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embeddings (N, D) of crops (N, H, W, 3)."""
    (found,) = model.session.run([output_of(model)], {CROPS: crops})
    embeddings: NDArray[np.float32] = found
    return embeddings


def size_of(model: OpenModel) -> tuple[int, int]:
    """Height and width of the crops in px."""
    return model.manifest.height_px, model.manifest.width_px


def output_of(model: OpenModel) -> str:
    """Name of the embedding."""
    return model.manifest.output_names(model.manifest.depths[0])[0]


def saturates() -> bool:
    """Whether onnxruntime's kernels in this process cut off sums of two products of bytes."""
    import onnxruntime  # type: ignore[import-untyped]

    x, w = np.full((16, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    graph = one_operator("MatMulInteger", x, {"w": w}, y_type=6, y_shape=(16, 16))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    return bool((found != 255 * 127 * 64).any())


if __name__ == "__main__":
    try:
        main()
    except AdlnError as error:
        raise SystemExit(f"error: {error}") from error
