"""Two processes under torchrun (gloo): disjoint persons in each step, the same weights."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from adln.model.checkpoint import load_network

SCRIPT = Path(__file__).with_name("two_processes.py")
UNEVEN = Path(__file__).with_name("uneven_processes.py")


def run(script: Path, folder: Path) -> list[Any]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, str(script), str(folder)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_share_the_work_and_end_with_the_same_weights(tmp_path: Path) -> None:
    first, second = run(SCRIPT, tmp_path)
    assert first["world_size"] == second["world_size"] == 2
    assert len(first["labels"]) == len(second["labels"]) > 0
    for a, b in zip(first["labels"], second["labels"], strict=True):
        assert len(set(a)) == len(set(b)) == 2
        assert not set(a) & set(b)
    assert first["weights"] == second["weights"]
    assert load_network(tmp_path / "network.safetensors").architecture.exits == (1, 2)


def test_one_process_s_clock_saves_for_both_and_its_wish_stops_both_at_once(tmp_path: Path) -> None:
    (first, first_after), (second, second_after) = run(UNEVEN, tmp_path)
    # Epochs are shorter than the ten steps after which progress is told.
    assert first["asked"] == second["asked"] == 2
    assert second["reason"] == "the second has enough"
    assert first["reason"] == "another process was asked to stop"
    assert first["is_stored"]
    assert not first["finished"]
    assert not second["finished"]
    assert first_after["finished"]
    assert second_after["finished"]
