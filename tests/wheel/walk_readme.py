"""Installs the built wheel into a fresh environment and does what the README says, step by step.

    python -m tests.wheel.walk_readme      # or: make wheel-test

Nothing of the source tree is in reach of what it installs: the README's commands are read here
and run in another folder, without PYTHONPATH. It needs the package index and nothing else of the
network. A step that fails ends it with what was run and what that said.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from benchmarks.bare_install import NOT_COUNTED, size_mb

ROOT = Path(__file__).resolve().parents[2]
BARE_LIMIT_MB = 200.0
START_S = 120.0
# What `import adln` must not bring: whatever is not Python's own.
IMPORTED = """
import sys
before = set(sys.modules)
import adln
own = set(sys.stdlib_module_names) | {"adln"}
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - own))
"""
# The pictures that the README's commands and examples name, and whom each shows in the demo.
PICTURES = {
    "anna1.jpg": "jo",
    "anna2.jpg": "jo",
    "somebody.jpg": "jo",
    "who.jpg": "jo",
    "stranger.jpg": "noor",
}


class Walk:
    """A fresh environment, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        strange = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "ADLN_DETECTOR")
        kept = {name: value for name, value in os.environ.items() if name not in strange}
        self.env: Mapping[str, str] = kept | {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip")),
        }

    def run(self, *command: str) -> str:
        """Run a command in the folder; returns what it printed."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(
                f"FAILED: {shlex.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )
        return done.stdout.strip()

    def python(self, code: str) -> str:
        """Run Python code in the environment."""
        return self.run(str(self.bin / "python"), "-c", code)

    def install(self, *what: str) -> None:
        """Install from the package index, in versions that are known to work together."""
        constraints = str(self.folder / "constraints.txt")
        quiet = ("--quiet", "--disable-pip-version-check", "--constraint", constraints)
        self.run(str(self.bin / "python"), "-m", "pip", "install", *quiet, *what)

    def installed_mb(self) -> float:
        """Size of all that was installed."""
        packages = Path(self.python("import sysconfig; print(sysconfig.get_path('purelib'))"))
        counted = [one for one in packages.iterdir() if not one.name.startswith(NOT_COUNTED)]
        return sum(size_mb(one) for one in counted)


@click.command()
@click.option("--python", default=sys.executable, help="Interpreter of the fresh environment.")
def main(python: str) -> None:
    """Walk the README's steps with the built wheel."""
    began_s = time.monotonic()
    section = read_section(ROOT / "README.md", "Use it")
    with tempfile.TemporaryDirectory(prefix="adln-wheel-") as name:
        walk = Walk(Path(name))
        shutil.copy(ROOT / "constraints.txt", walk.folder)
        build = ("wheel", "--quiet", "--no-deps", "--wheel-dir", name, str(ROOT))
        walk.run(python, "-m", "pip", *build)
        wheel = only(walk.folder.glob("adln-*.whl"), "wheel")
        walk.run(python, "-m", "venv", str(walk.folder / "venv"))
        say(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")

        walk.install(str(wheel))
        size = walk.installed_mb()
        check(size < BARE_LIMIT_MB, f"without extras {size:.0f} MB, under {BARE_LIMIT_MB:.0f}")
        brought = walk.python(IMPORTED)
        check(not brought, f"`import adln` imports nothing but itself {brought}".rstrip())
        place = walk.python("import adln; print(adln.__file__)")
        check(place.startswith(str(walk.folder.resolve())), "adln is the installed one")
        check("Usage: adln" in walk.run("adln", "--help"), "adln --help")

        extra = found(r'pip install "\.(\[[a-z,]+\])"', section)
        walk.install(f"{wheel}{extra}")
        say(f"pip install: {extra}")
        walk_demo(walk, section)
        walk_terminal(walk, section)
        walk_python(walk)
    say(f"All of it in {time.monotonic() - began_s:.0f} s.")


def walk_demo(walk: Walk, section: str) -> None:
    """`adln serve --demo`, and a picture dropped on it, as the page does it."""
    command = shlex.split(found(r"`(adln serve --demo)`", section))
    picture = walk.folder / found(r"drop `([^`]+\.jpg)`", section)
    name = found(r"The answer: \*(\w+), over 99 % confidence\*", section)
    with serving(walk, [*command, "--port", "0"]) as address:
        health = json.loads(ask(f"{address}/api/v1/health"))
        check(health["status"] == "ok", f"health: {health}")
        check(b"<html" in ask(address).lower(), "the page is there")
        answer = json.loads(ask(f"{address}/api/v1/search/picture", picture.read_bytes()))
        check(
            answer["verdict"] == "matched" and answer["name"] == name,
            f"{picture.name} is {name}: {answer['reason']}",
        )
        cameras = json.loads(ask(f"{address}/api/v1/status"))["cameras"]
        check(len(cameras) == 3, f"{len(cameras)} cameras are watched")
    for target, source in PICTURES.items():
        shutil.copy(picture.with_name(f"{source}.jpg"), walk.folder / target)


def walk_terminal(walk: Walk, section: str) -> None:
    """The commands that the section shows for the terminal."""
    block = found(r"```\n(adln gallery [^`]+)```", section)
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    check(
        {"enrol", "search"} <= {word for command in commands for word in command[1:3]},
        f"{len(commands)} commands for the terminal",
    )
    for command in commands:
        said = walk.run(*command)
        if command[1] == "search":
            check("matched" in said and "Anna" in said, f"{shlex.join(command)}: {said[-70:]}")
            stranger = [word.replace("somebody", "stranger") for word in command]
            check("unknown" in walk.run(*stranger), "a stranger is unknown")


def walk_python(walk: Walk) -> None:
    """The first example of `adln.__doc__`, as installed."""
    shutil.rmtree(walk.folder / "shop", ignore_errors=True)
    example = found(r"```python\n(.+?)```", walk.python("import adln; print(adln.__doc__)"))
    said = walk.python(example)
    check(said.startswith("matched") and "Anna" in said, f"the example in Python: {said}")


@contextmanager
def serving(walk: Walk, command: list[str]) -> Iterator[str]:
    """A service of the environment; yields its address once it answers."""
    log = walk.folder / "serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=walk.folder, env=walk.env, stderr=file, stdout=file)
        try:
            until_s = time.monotonic() + START_S
            while not (named := re.search(r"http://127\.0\.0\.1:[1-9]\d*", log.read_text())):
                if process.poll() is not None or time.monotonic() > until_s:
                    raise SystemExit(f"FAILED: {shlex.join(command)}\n{log.read_text()[-4000:]}")
                time.sleep(0.1)
            while True:
                try:
                    ask(f"{named[0]}/api/v1/health")
                    break
                except OSError as error:
                    if process.poll() is not None or time.monotonic() > until_s:
                        text = log.read_text()[-4000:]
                        raise SystemExit(f"FAILED: {error}\n{text}") from error
                    time.sleep(0.1)
            say(f"{shlex.join(command)}: {named[0]}")
            yield named[0]
        finally:
            process.terminate()
            process.wait(timeout=30)
    check(process.returncode == 0, "the service ends in good order")


def ask(address: str, picture: bytes | None = None) -> bytes:
    """Get an address, or post a picture to it."""
    request = urllib.request.Request(address, picture)
    if picture is not None:
        request.add_header("Content-Type", "image/jpeg")
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: bytes = answer.read()
    return body


def read_section(path: Path, title: str) -> str:
    """The text of a section of a Markdown file."""
    return found(rf"(?ms)^## {re.escape(title)}\n(.+?)(?=^## |\Z)", path.read_text("utf-8"))


def found(pattern: str, text: str) -> str:
    """The first group of a pattern that must be there."""
    match = re.search(pattern, text, re.DOTALL)
    if match is None:
        raise SystemExit(f"FAILED: nothing like {pattern} in:\n{text}")
    return match[1]


def only(paths: Iterator[Path], what: str) -> Path:
    """The one path that there must be."""
    several = list(paths)
    check(len(several) == 1, f"one {what}")
    return several[0]


def check(holds: bool, claim: str) -> None:
    """Say a claim, and stop if it does not hold."""
    if not holds:
        raise SystemExit(f"FAILED: {claim}")
    say(claim)


def say(text: str) -> None:
    """One line of progress."""
    click.echo(f"  {text}")


if __name__ == "__main__":
    main()
