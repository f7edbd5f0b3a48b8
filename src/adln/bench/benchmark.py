"""Speed of exported networks on this machine, compared with other networks and its peak.

Adds to Table 1: latency, throughput, memory, cold start, share of the machine's measured peak.
"""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adln.bench.candidates import Candidate, Facts, Run
from adln.bench.cold_start import ColdStart, measure_cold_start
from adln.bench.kernels import build_kernels
from adln.bench.measuring import Times, time_in_turns
from adln.embedders.session import usable_cores
from adln.errors import SettingsError
from adln.manifest import Accuracy

_THROUGHPUT_BATCHES = (8, 32)
# A kernel's best time is this quantile, because the minimum may be a clock error.
_BEST = 0.05


@dataclass(frozen=True)
class Peak:
    """The machine's measured peak in one precision ("fp32" or "int8").

    Attributes:
        kernel: the fastest operation.
        operations_per_s: multiplications and additions.
    """

    precision: str
    kernel: str
    operations_per_s: float


@dataclass(frozen=True, kw_only=True)
class BenchRow(Facts):
    """Results of one network.

    Attributes:
        p50_ms: median latency of one crop.
        p95_ms: 95th percentile of the latency.
        cpu_ms: median CPU time for one crop, all threads together.
        images_per_s: batch size -> crops per second; None if it does not accept that batch size.
        peak_share: share of the machine's peak, 0..1, reached at batch size 1; None if unknown.
    """

    p50_ms: float
    p95_ms: float
    cpu_ms: float
    images_per_s: dict[int, float | None]
    peak_share: float | None
    cold_start: ColdStart | None


@dataclass(frozen=True)
class BenchReport:
    """Results of one run of the benchmark.

    Attributes:
        machine: processor, cores and runtime, in words.
        threads: cores available to each network.
        load: of other programs at the start (1-minute average); None if unknown.
    """

    machine: str
    threads: int
    load: float | None
    peaks: dict[str, Peak]
    rows: tuple[BenchRow, ...]


def run_benchmark(
    candidates: Sequence[Candidate],
    *,
    threads: int = 1,
    rounds: int = 20,
    batches: Sequence[int] = _THROUGHPUT_BATCHES,
    cold_starts: int = 3,
    seed: int = 0,
    on_progress: Callable[[int], object] = lambda _: None,
) -> BenchReport:
    """Time networks alternately, in random order, in one process.

    Args:
        candidates: the networks, each opened for `threads`.
        threads: cores for each network and each kernel that measures the peak.
        rounds: turns of each network, with five timed runs each.
        batches: sizes for which throughput is measured.
        cold_starts: fresh processes per network; 0 for none.
        seed: of the order.
        on_progress: called with the number of steps just done, out of `count_steps`.

    Raises:
        ModelFileError: a file cannot be run.
        SettingsError: there is nothing to time, or two networks have the same name.
    """
    names = [candidate.facts.name for candidate in candidates]
    if not names:
        raise SettingsError("name at least one network to time.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"two networks have the same name {twice}; rename one of the files.")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    times, peaks = _time_one_crop(candidates, threads, rounds, seed, on_progress)
    rates = {
        batch: _rates(candidates, batch, max(1, rounds // 4), seed, on_progress)
        for batch in batches
    }
    rows = []
    for candidate in candidates:
        facts = candidate.facts
        taken = times[facts.name]
        cold_start = None
        if cold_starts:
            peer_runtime = None if facts.is_own else facts.runtime
            cold_start = measure_cold_start(candidate.path, peer_runtime, times=cold_starts)
        on_progress(1)
        rows.append(
            BenchRow(
                **vars(facts),
                p50_ms=1e3 * taken.wall(),
                p95_ms=1e3 * taken.wall(0.95),
                cpu_ms=1e3 * taken.cpu(),
                images_per_s={batch: rates[batch][facts.name] for batch in batches},
                peak_share=_peak_share(facts.macs, facts.precision, taken, peaks, threads),
                cold_start=cold_start,
            )
        )
    return BenchReport(describe_machine(), threads, load, peaks, tuple(rows))


def count_steps(networks: int, *, rounds: int, batches: Sequence[int] = _THROUGHPUT_BATCHES) -> int:
    """Number of steps reported by `run_benchmark` to `on_progress`."""
    return rounds * (networks + len(build_kernels())) + len(batches) * networks + networks


def describe_machine() -> str:
    """Description of processor, cores and onnxruntime."""
    import onnxruntime  # type: ignore[import-untyped]

    return (
        f"{_processor()}, {usable_cores()} cores, onnxruntime {onnxruntime.__version__}, "
        f"Python {platform.python_version()}, {platform.system()}"
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _time_one_crop(
    candidates: Sequence[Candidate],
    threads: int,
    rounds: int,
    seed: int,
    on_progress: Callable[[int], object],
) -> tuple[dict[str, Times], dict[str, Peak]]:
    kernels = {f"kernel {k.precision} {k.name}": k for k in build_kernels(threads=threads)}
    tasks: dict[str, Run] = {name: kernel.run for name, kernel in kernels.items()}
    for candidate in candidates:
        run = candidate.build_run(1)
        if run is None:
            raise SettingsError(f"{candidate.path}: does not accept batches of one crop.")
        tasks[candidate.facts.name] = run
    times = time_in_turns(tasks, rounds=rounds, seed=seed, on_progress=on_progress)
    peaks: dict[str, Peak] = {}
    for name, kernel in kernels.items():
        rate = kernel.operations / _seconds(times[name], threads, _BEST)
        best = peaks.get(kernel.precision)
        if best is None or rate > best.operations_per_s:
            peaks[kernel.precision] = Peak(kernel.precision, kernel.name, rate)
    return times, peaks


def _rates(
    candidates: Sequence[Candidate],
    batch: int,
    rounds: int,
    seed: int,
    on_progress: Callable[[int], object],
) -> dict[str, float | None]:
    runs = {candidate.facts.name: candidate.build_run(batch) for candidate in candidates}
    tasks = {name: run for name, run in runs.items() if run is not None}
    times = time_in_turns(tasks, rounds=rounds, repeats=1, seed=seed)
    on_progress(len(candidates))
    return {name: batch / times[name].wall() if name in times else None for name in runs}


def _seconds(taken: Times, threads: int, share: float = 0.5) -> float:
    # CPU time excludes other work on the machine, but adds up that of several threads.
    return taken.cpu(share) if threads == 1 else taken.wall(share)


def _peak_share(
    macs: int | None, precision: str, taken: Times, peaks: dict[str, Peak], threads: int
) -> float | None:
    # onnxruntime computes fp16 in fp32 on a CPU; there is no bfloat16 kernel here.
    peak = peaks.get({"fp16": "fp32"}.get(precision, precision))
    if macs is None or peak is None:
        return None
    return 2 * macs / _seconds(taken, threads) / peak.operations_per_s


def best_accuracy(accuracy: Sequence[Accuracy]) -> Accuracy | None:
    """The row of a manifest for a chart: the deepest of the first data set."""
    rows = [row for row in accuracy if row.dataset == accuracy[0].dataset]
    return max(rows, key=lambda row: row.depth, default=None)
