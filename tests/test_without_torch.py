"""A device has no torch: everything it uses is imported here with torch out of reach."""

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import adln

EDGE = (
    "boxes",
    "cameras",
    "crops",
    "embeddings",
    "errors",
    "manifest",
    "settings",
    "datasets",
    "evaluation",
    "scenes",
    "embedders",
    "reports",
    "bench",
    "gallery",
    "matching",
    "pipeline",
    "service",
)
TORCH_TOWER = ("torch", "lightning_fabric", "safetensors", "tensorboard", "onnx", "onnxscript")

# Stands in front of all other finders and knows no such module.
BLOCK = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TORCH_TOWER!r}:
            raise ImportError(f"{{name}} is blocked: a device does not have it")
sys.meta_path.insert(0, Blocked())
"""


def without_torch(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def edge_modules() -> list[str]:
    (root,) = adln.__path__
    found = [f"adln.{name}" for name in EDGE] + ["adln.cli.main"]
    for name in EDGE:
        folder = Path(root) / name
        found += [f"adln.{name}.{module.name}" for module in pkgutil.iter_modules([str(folder)])]
    return sorted(found)


def test_the_block_blocks() -> None:
    assert "blocked" in without_torch(
        "try:\n    import torch\nexcept ImportError as error:\n    print(error)"
    )


def test_every_edge_module_imports() -> None:
    modules = edge_modules()
    assert {"adln.crops", "adln.embedders.embedder", "adln.evaluation.ranking"} <= set(modules)
    without_torch(f"import importlib\nfor name in {modules!r}:\n    importlib.import_module(name)")


def test_importing_adln_loads_nothing_heavy() -> None:
    loaded = json.loads(without_torch("import adln, json\nprint(json.dumps(sorted(sys.modules)))"))
    assert not {"numpy", "onnxruntime", "PIL", "click"} & set(loaded)


def test_help_is_shown() -> None:
    shown = without_torch(
        "import adln.cli.main\nsys.argv = ['adln', '--help']\nadln.cli.main.main()"
    )
    assert "Usage: adln" in shown


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("demo --out OUT/demo", "train"),
        ("train --data OUT --out OUT/run", "train"),
        ("align OUT/n.safetensors --data OUT --out OUT/a.safetensors", "train"),
        ("export OUT/n.safetensors --depth 1 --out OUT/a.onnx", "train|export"),
        ("complexity", "train"),
    ],
)
def test_commands_that_need_torch_say_what_to_install(
    tmp_path: Path, command: str, extra: str
) -> None:
    arguments = ["adln", *command.replace("OUT", str(tmp_path)).split()]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{BLOCK}\nsys.argv = {arguments!r}\nimport adln.cli.main\nadln.cli.main.main()",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert re.search(rf'is not installed.*pip install "\.\[({extra})\]"', done.stderr)
    assert list(tmp_path.iterdir()) == []
