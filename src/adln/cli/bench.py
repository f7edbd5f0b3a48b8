"""`adln bench`: how fast networks are on this machine, beside peers and the machine's own peak."""

from dataclasses import asdict
from pathlib import Path

import click

from adln.atomic import require_writable
from adln.bench.benchmark import BenchReport, BenchRow, best_accuracy, count_steps, run_benchmark
from adln.bench.candidates import Candidate, OnnxCandidate, open_peer
from adln.cli import options
from adln.cli.progress import counting, mention, print_json, save_picture
from adln.embedders.foreign import sidecar
from adln.embedders.shipped import find_network
from adln.errors import SettingsError
from adln.evaluation.report import aligned
from adln.reports.chart import ChartPoint, draw_chart


def named_accuracy(text: str) -> tuple[str, float]:
    """NAME=mAP with mAP in percent; an option type for click."""
    name, equals, number = text.rpartition("=")
    try:
        percent = float(number)
    except ValueError:
        equals = ""
    if not equals or not 0 <= percent <= 100:
        raise click.BadParameter(f"{text!r}: write a name and its mAP in percent, res2=61.5.")
    return name, percent


@click.command()
@options.network(
    default=None,
    multiple=True,
    help="Name or file of a network; see `adln networks`. May be repeated.",
)
@options.path(
    "--peer",
    "peers",
    multiple=True,
    help="Another network to compare with: .onnx, or .xml (needs OpenVINO). May be repeated.",
)
@options.shown(
    "--threads", type=click.IntRange(1), default=1, help="Cores that each network may use."
)
@options.shown(
    "--rounds",
    type=click.IntRange(1),
    default=20,
    help="Rounds, in random order; five timed runs per network in each.",
)
@click.option(
    "--accuracy",
    "accuracies",
    multiple=True,
    type=named_accuracy,
    metavar="NAME=mAP",
    help="mAP in percent of a network that does not carry its own, e.g. osnet=70.1.",
)
@options.file("--picture", help="Draw accuracy against latency into this file (.png).")
@options.as_json
def bench(
    networks: tuple[Path, ...],
    peers: tuple[Path, ...],
    threads: int,
    rounds: int,
    accuracies: tuple[tuple[str, float], ...],
    picture: Path | None,
    as_json: bool,
) -> None:
    """Measure speed, memory and start of networks on this machine.

    All networks run in one process, in rounds of random order, so that their ratios can be
    trusted even if other work disturbs the milliseconds.
    """
    if picture is not None:
        require_writable(picture, raises=SettingsError)

    def open_network(path: Path) -> Candidate:
        path = find_network(path)
        # One of another make runs as a peer does: what its graph takes are pixels, not crops.
        if sidecar(path).is_file():
            return open_peer(path, threads=threads)
        return OnnxCandidate(path, threads=threads, own=True)

    candidates: list[Candidate] = [
        *(open_network(path) for path in networks),
        *(open_peer(find_network(path), threads=threads) for path in peers),
    ]
    given = dict(accuracies)
    names = [candidate.facts.name for candidate in candidates]
    if unknown := sorted(given.keys() - set(names)):
        raise SettingsError(f"--accuracy names {unknown}; the networks are: {', '.join(names)}.")
    steps = count_steps(len(candidates), rounds=rounds)
    with counting(steps, "measuring", quiet=as_json) as on_progress:
        report = run_benchmark(candidates, threads=threads, rounds=rounds, on_progress=on_progress)
    if as_json:
        content = asdict(report)
        for row, facts in zip(report.rows, content["rows"], strict=True):
            facts["mean_ap_percent"] = _mean_ap(row, given)
        print_json(content)
    else:
        click.echo(_as_text(report, given))
    if picture is not None:
        _draw(report, given, picture)


def _mean_ap(row: BenchRow, given: dict[str, float]) -> float | None:
    """In percent: what the user says, else what the manifest says."""
    if row.name in given:
        return given[row.name]
    measured = best_accuracy(row.accuracy)
    return None if measured is None else 100 * measured.mean_ap


def _as_text(report: BenchReport, given: dict[str, float]) -> str:
    rows = [_row(row, given) for row in report.rows]
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    lines = [report.machine, f"{_threads(report)}, one crop at a time unless said otherwise"]
    if report.load is not None and report.load > 0.5:
        lines.append(
            f"NOTE: the machine was busy (load {report.load:.1f}); ratios hold, times do not."
        )
    lines += ["", *aligned(table, words=3), ""]
    lines += [
        f"peak {peak.precision}: {peak.operations_per_s / 1e9:.0f} G operations/s "
        f"({peak.kernel} by onnxruntime, measured in the same run)"
        for peak in report.peaks.values()
    ]
    lines += [f"{row.name}: {row.verdict} on this device" for row in report.rows if row.verdict]
    return "\n".join(lines)


def _row(row: BenchRow, given: dict[str, float]) -> dict[str, str]:
    """What the table says of a network, by column."""
    start = row.cold_start
    return {
        "network": row.name,
        "runtime": row.runtime,
        "prec.": row.precision,
        "p50 ms": f"{row.p50_ms:.2f}",
        "p95 ms": f"{row.p95_ms:.2f}",
        **{f"img/s at {batch}": _number(one, ".0f") for batch, one in row.images_per_s.items()},
        "of peak": _number(row.peak_share, ".0%"),
        "start CPU s": _number(start.cpu_s if start else None, ".2f"),
        "peak MiB": _number(start.peak_mib if start else None, ".0f"),
        "file MB": f"{row.file_bytes / 1e6:.2f}",
        "mAP %": _number(_mean_ap(row, given), ".1f"),
    }


def _threads(report: BenchReport) -> str:
    return "1 thread" if report.threads == 1 else f"{report.threads} threads"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _draw(report: BenchReport, given: dict[str, float], path: Path) -> None:
    points = [
        ChartPoint(row.name, row.p50_ms, mean_ap, row.precision, is_own=row.is_own)
        for row in report.rows
        if (mean_ap := _mean_ap(row, given)) is not None
    ]
    if not points:
        raise SettingsError(
            "No picture: no network has an accuracy. Export with a data set, or give "
            "--accuracy NAME=mAP."
        )
    measured = [best_accuracy(row.accuracy) for row in report.rows]
    datasets = {row.dataset for row in measured if row is not None}
    where = f" on {datasets.pop()}" if len(datasets) == 1 else ""
    picture = draw_chart(
        points,
        title="Accuracy against time of one crop",
        accuracy_name=f"mAP{where} (%)",
        footer=(report.machine, f"{_threads(report)}, one crop at a time, medians"),
    )
    save_picture(picture, path)
    left_out = len(report.rows) - len(points)
    rest = f" ({left_out} without an accuracy left out)" if left_out else ""
    mention(f"picture: {path}{rest}")
