"""Installs the package without extras into a fresh environment and measures what a device meets.

    python -m benchmarks.bare_install res2_int8.onnx

Checks that torch is not there, that `adln --help` works, that a picture is embedded, and the bars:
imports in under 0.5 s, under 200 MB on disk, and from the start of the process to the first
embedding at most 0.3 s of CPU time and 100 MB of memory. Times are medians of fresh processes,
after one that warms the disk's cache.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
# What an empty environment already has.
NOT_COUNTED = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")

IMPORT = """
import time
began_wall, began_cpu = time.perf_counter(), time.process_time()
import adln
import adln.embedders.embedder
import onnxruntime
import json
print(json.dumps([time.perf_counter() - began_wall, time.process_time() - began_cpu]))
"""
EMBED = """
import sys
from adln.embedders.embedder import OnnxEmbedder
embedding = OnnxEmbedder(sys.argv[1], threads=1).embed_picture(sys.argv[2])
from adln.bench.cold_start import peak_memory_mib
import json, time
lengths = [float((vector ** 2).sum()) for vector in embedding.values()]
print(json.dumps([time.process_time(), peak_memory_mib() * 2**20 / 1e6, lengths]))
"""


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--runs", default=7, show_default=True, help="Fresh processes for each number.")
@click.option("--python", default=sys.executable, help="Interpreter of the fresh environment.")
def main(model: Path, runs: int, python: str) -> None:
    """Measure an installation without extras."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "venv"
        call([python, "-m", "venv", str(environment)])
        fresh = str(environment / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        call([fresh, "-m", "pip", "install", "--quiet", str(ROOT)])
        packages = Path(
            call([fresh, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
        )
        torch_there = (packages / "torch").exists()
        sizes = {entry.name: size_mb(entry) for entry in packages.iterdir()}
        counted = {name: size for name, size in sizes.items() if not name.startswith(NOT_COUNTED)}
        picture = Path(folder) / "person.jpg"
        draw = "from PIL import Image; import sys; Image.new('RGB', (64, 128)).save(sys.argv[1])"
        call([fresh, "-c", draw, str(picture)])
        called = [fresh, "-m", "adln", "--help"]
        helped = "Usage" in call(called)
        imports = repeat(runs, lambda: json.loads(call([fresh, "-c", IMPORT])))
        embeds = repeat(
            runs, lambda: json.loads(call([fresh, "-c", EMBED, str(model.resolve()), str(picture)]))
        )
    largest = sorted(counted.items(), key=lambda item: -item[1])[:8]
    click.echo("largest: " + ", ".join(f"{name} {size:.1f} MB" for name, size in largest))
    unit = all(abs(length - 1) < 1e-3 for _, _, lengths in embeds for length in lengths)
    results = [
        ("torch is absent", not torch_there, "yes" if not torch_there else "NO"),
        ("adln --help", helped, "shown" if helped else "NOT SHOWN"),
        ("a picture is embedded, unit length", unit, "yes" if unit else "NO"),
        bar("on disk", sum(counted.values()), 200, "MB"),
        bar("import, wall", statistics.median(wall for wall, _ in imports), 0.5, "s"),
        bar("import, CPU", statistics.median(cpu for _, cpu in imports), 0.5, "s"),
        bar("cold start, CPU", statistics.median(cpu for cpu, _, _ in embeds), 0.3, "s"),
        bar("cold start, peak memory", max(peak for _, peak, _ in embeds), 100, "MB"),
    ]
    for name, reached, text in results:
        click.echo(f"{'reached' if reached else 'MISSED '}  {name}: {text}")
    if not all(reached for _, reached, _ in results):
        raise SystemExit(1)


def bar(name: str, value: float, limit: float, unit: str) -> tuple[str, bool, str]:
    """A measured value beside its limit."""
    return name, value <= limit, f"{value:.3g} {unit} (limit {limit:g} {unit})"


def repeat(runs: int, measure: Callable[[], list[Any]]) -> list[list[Any]]:
    """Measure in fresh processes; the first only warms the disk's cache."""
    return [measure() for _ in range(runs + 1)][1:]


def call(command: list[str]) -> str:
    """Run a command outside this project's folder; returns what it printed."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tempfile.gettempdir()
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{done.stderr}")
    return done.stdout.strip()


def size_mb(entry: Path) -> float:
    """Bytes of a file or of all files in a folder, in millions."""
    files = [entry] if entry.is_file() else [path for path in entry.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6


if __name__ == "__main__":
    main()
