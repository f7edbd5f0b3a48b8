"""Two processes under torchrun (gloo): disjoint persons in each step, the same weights."""

import json
import subprocess
import sys
from pathlib import Path

from adln.model.checkpoint import load_network

SCRIPT = Path(__file__).with_name("two_processes.py")


def test_two_processes_share_the_work_and_end_with_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*command, "--nproc-per-node=2", str(SCRIPT), str(tmp_path)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first["world_size"] == second["world_size"] == 2
    assert len(first["labels"]) == len(second["labels"]) > 0
    for a, b in zip(first["labels"], second["labels"], strict=True):
        assert len(set(a)) == len(set(b)) == 2
        assert not set(a) & set(b)
    assert first["weights"] == second["weights"]
    assert load_network(tmp_path / "network.safetensors").architecture.exits == (1, 2)
