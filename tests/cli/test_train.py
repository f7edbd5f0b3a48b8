"""`adln train` as a person or a queue of jobs uses it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from adln.cli.train import train
from adln.evaluation.unseen import was_seen
from adln.model import bfloat16
from adln.model.checkpoint import read_provenance, save_network
from adln.model.network import Architecture, build_network

SMALL = (
    "network.exits=[1]",
    'network.imagenet=""',
    "batch.persons=2",
    "batch.crops=2",
    "batch.height_px=32",
    "batch.width_px=16",
    "schedule.epochs=2",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four persons under two cameras, in the layout of Market-1501."""
    root = tmp_path / "people"
    rng = np.random.default_rng(0)
    for folder, persons in (("bounding_box_train", (2, 7)), ("bounding_box_test", (3, 4))):
        (root / folder).mkdir(parents=True)
        for person in persons:
            for camera in (1, 2):
                for index in (1, 2):
                    name = f"{person:04d}_c{camera}s1_{index:06d}_00.jpg"
                    pixels = rng.integers(0, 256, (32, 16, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(root / folder / name)
    (root / "query").mkdir()
    for person in (3, 4):
        name = f"{person:04d}_c1s1_000001_00.jpg"
        (root / "query" / name).write_bytes((root / "bounding_box_test" / name).read_bytes())
    return root


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    return ["--data", str(data), "--out", str(out), "--device", "cpu", *settings, *more]


def test_it_trains_and_says_what_comes_next(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(train, arguments(data, tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert "epoch   2/2" in result.output
    assert f"next: adln evaluate {tmp_path / 'run' / 'network.safetensors'}" in result.output
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") == 3
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert bfloat16.NOTICE not in result.output


def test_it_says_that_it_trains_in_float32_where_bfloat16_is_slow(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    mixed = ("--set", 'precision="bf16-mixed"')
    result = CliRunner().invoke(train, arguments(data, tmp_path / "run", *mixed))
    assert result.exit_code == 0, result.output
    assert bfloat16.NOTICE in result.output


def test_a_network_states_what_the_one_it_was_started_from_was_trained_on(
    data: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start.safetensors"
    architecture = Architecture(num_classes=3, exits=(1,), height_px=32, width_px=16)
    for before, stated in (
        ("cuhk03 + market1501", "cuhk03 + market1501"),
        ("cuhk03", "cuhk03 + market1501"),
        ("", "unstated + market1501"),
    ):
        save_network(start, build_network(architecture, seed=0), provenance={"data": before})
        out = tmp_path / f"run of {before}"
        settings = f"network.start_from={json.dumps(str(start))}"
        result = CliRunner().invoke(train, arguments(data, out, "--set", settings))
        assert result.exit_code == 0, result.output
        assert read_provenance(out / "network.safetensors")["data"] == stated


def test_a_run_that_goes_on_states_what_it_was_started_from_though_that_is_gone(
    data: Path, tmp_path: Path
) -> None:
    start, out = tmp_path / "start.safetensors", tmp_path / "run"
    architecture = Architecture(num_classes=3, exits=(1,), height_px=32, width_px=16)
    save_network(start, build_network(architecture, seed=0), provenance={"data": "cuhk03"})
    settings = f"network.start_from={json.dumps(str(start))}"
    for more in (["--stop-after", "0s"], ["--stop-after", "0s"], []):
        result = CliRunner().invoke(train, arguments(data, out, "--set", settings, *more))
        assert result.exit_code == 0, result.output
        start.unlink(missing_ok=True)
    assert read_provenance(out / "network.safetensors")["data"] == "cuhk03 + market1501"


def test_a_network_states_pictures_without_labels_that_it_was_trained_on(
    data: Path, tmp_path: Path
) -> None:
    more = tmp_path / "CUHK01/campus"
    more.mkdir(parents=True)
    for number in (1, 2, 3, 4):
        (more / f"0001{number:03d}.png").write_bytes(next(data.rglob("*.jpg")).read_bytes())
    out = tmp_path / "run"
    result = CliRunner().invoke(train, arguments(data, out, "--unlabelled", str(more)))
    assert result.exit_code == 0, result.output
    stated = str(read_provenance(out / "network.safetensors")["data"])
    assert was_seen("cuhk01", stated) == "seen"
    assert was_seen("market1501", stated) == "seen"
    assert was_seen("viper", stated) == "unseen"


def test_time_that_is_up_stores_the_state_and_the_same_command_goes_on(
    data: Path, tmp_path: Path
) -> None:
    stopped = CliRunner().invoke(
        train, arguments(data, tmp_path / "run", "--stop-after", "0s", "--json")
    )
    told = json.loads(stopped.stdout)
    assert not told["finished"]
    assert told["reason"] == "the time of 0 s is up"
    gone_on = CliRunner().invoke(train, arguments(data, tmp_path / "run"))
    assert "going on in epoch" in gone_on.output
    assert "done:" in gone_on.output


def test_sigterm_stores_the_state_and_leaves_no_trace_in_the_weights(
    data: Path, tmp_path: Path
) -> None:
    long = ("--set", "schedule.epochs=40")
    command = [sys.executable, "-m", "adln", "train", *arguments(data, tmp_path / "cut", *long)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch"):
                break
        os.kill(process.pid, signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 0, rest
    assert "received SIGTERM. The same command goes on." in rest
    assert (tmp_path / "cut" / "state.safetensors").is_file()
    for out in ("cut", "whole"):
        run = CliRunner().invoke(train, arguments(data, tmp_path / out, *long))
        assert run.exit_code == 0, run.output
    cut, whole = (load_file(tmp_path / out / "network.safetensors") for out in ("cut", "whole"))
    assert all((tensor == whole[name]).all() for name, tensor in cut.items())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--set", "schedule.epoch=3"), "schedule.epoch: unknown key"),
        (("--imagenet", "nowhere.pth"), "no such weights file: nowhere.pth"),
        (("--layout", "msmt17"), "list_train.txt"),
        (("--stop-after", "soon"), "'soon' is not a duration; write 540s, 9m, 2h, 30d or 4w."),
    ],
)
def test_bad_input_is_one_clear_error(
    data: Path, tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    command = [sys.executable, "-m", "adln", "train", *arguments(data, tmp_path / "run", *more)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
