from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adln.bench.benchmark import best_accuracy, count_steps, run_benchmark
from adln.bench.candidates import Facts, Run
from adln.errors import SettingsError
from adln.manifest import Accuracy


@dataclass
class FakeCandidate:
    """A network that does nothing and counts how often."""

    name: str
    macs: int | None = 1_000_000
    precision: str = "fp32"
    batches: Sequence[int] = (1, 8, 32)
    runs: dict[int, int] = field(default_factory=dict)
    path: Path = Path("network.onnx")

    @property
    def facts(self) -> Facts:
        return Facts(self.name, "onnxruntime", self.precision, False, 7, self.macs)

    def build_run(self, batch_size: int) -> Run | None:
        def run() -> None:
            self.runs[batch_size] = self.runs.get(batch_size, 0) + 1

        return run if batch_size in self.batches else None


def test_every_network_is_run_at_every_batch_and_progress_adds_up() -> None:
    networks = [FakeCandidate("a"), FakeCandidate("b", batches=(1, 8))]
    told: list[int] = []
    report = run_benchmark(networks, rounds=4, cold_starts=0, on_progress=told.append)
    assert sum(told) == count_steps(2, rounds=4)
    # Five timed runs and an untimed one in each turn.
    assert networks[0].runs[1] == networks[1].runs[1] == 4 * 6
    assert [row.name for row in report.rows] == ["a", "b"]
    assert report.rows[0].images_per_s.keys() == {8, 32}
    assert report.rows[1].images_per_s[32] is None
    assert report.rows[1].images_per_s[8] is not None


def test_share_of_the_peak_is_operations_by_time_by_peak() -> None:
    networks = [
        FakeCandidate("known"),
        FakeCandidate("uncounted", macs=None),
        FakeCandidate("eight bits", precision="int8"),
        FakeCandidate("no kernel", precision="bf16"),
    ]
    report = run_benchmark(networks, rounds=1, batches=(), cold_starts=0)
    known, uncounted, eight_bits, no_kernel = report.rows
    assert report.peaks.keys() == {"fp32", "int8"}
    for row, precision in ((known, "fp32"), (eight_bits, "int8")):
        rate = 2e6 / (1e-3 * row.cpu_ms)
        assert row.peak_share == pytest.approx(rate / report.peaks[precision].operations_per_s)
    assert uncounted.peak_share is None
    assert no_kernel.peak_share is None


def test_nothing_two_of_a_name_and_no_single_crop_are_refused() -> None:
    with pytest.raises(SettingsError, match="at least one network"):
        run_benchmark([])
    with pytest.raises(SettingsError, match=r"same name \['a'\]"):
        run_benchmark([FakeCandidate("a"), FakeCandidate("a")])
    with pytest.raises(SettingsError, match="does not accept batches of one crop"):
        run_benchmark([FakeCandidate("a", batches=(8,))])


def test_the_chart_shows_the_deepest_row_of_the_first_data_set() -> None:
    make: Callable[[str, int], Accuracy] = lambda dataset, depth: Accuracy(  # noqa: E731
        dataset=dataset,
        depth=depth,
        rank1=0.9,
        mean_ap=depth / 10,
        torch_rank1=0.9,
        torch_mean_ap=0.8,
    )
    rows = [make("market1501", 2), make("market1501", 3), make("other", 4)]
    assert best_accuracy(rows) == rows[1]
    assert best_accuracy([]) is None
