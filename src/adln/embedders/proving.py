"""Tries a network file on this device: does it answer here as it did where it was made?

Processors and runtimes differ in their arithmetic, and a wrong one gives no error, only wrong
people. So a file carries crops that a device can draw itself, and their embeddings
(`adln.manifest.Probe`). They are computed when a file is opened for the first time; the verdict is
kept for this file, runtime and processor.
"""

import base64
import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.atomic import is_there, user_folder
from adln.embedders.session import OpenModel
from adln.errors import DeviceError
from adln.manifest import CROPS, Manifest, Probe
from adln.probe import draw_crops

# Lines of /proc/cpuinfo that tell what a processor computes with.
_PROCESSOR_LINES = ("model name", "hardware", "flags", "features", "cpu part")
PROBE_SEED, PROBE_CROPS = 0, 4
# Cosines may be so much lower than where the file was made: kernels round differently.
ALLOWANCE = 0.002

Answers = Mapping[int, NDArray[np.float32]]
"""Depth -> (N, D) of unit length."""
Run = Callable[[NDArray[np.uint8]], Answers]
"""Embeds crops (N, H, W, 3) uint8 RGB: depth -> (N, D) float32 of unit length."""


@dataclass(frozen=True)
class Verdict:
    """What was found of a file on this device.

    Attributes:
        proved: whether it answers as it should; False if the file carries nothing to try it by.
        text: the same in words.
    """

    proved: bool
    text: str


_PROVED = Verdict(True, "proved")
UNPROVED = Verdict(False, "unproved: no probe in the file")


def draw_probe(manifest: Manifest) -> NDArray[np.uint8]:
    """The crops (N, H, W, 3) uint8 RGB of a new probe."""
    return draw_crops(
        PROBE_SEED, PROBE_CROPS, height_px=manifest.height_px, width_px=manifest.width_px
    )


def write_probe(depths: Sequence[int], expected: Answers, found: Answers) -> Probe:
    """Write down what a device must answer to the crops of `draw_probe`.

    Args:
        depths: of the file.
        expected: answers of the torch network.
        found: answers of the file.
    """
    answers = {depth: expected[depth].astype("<f2") for depth in depths}
    reached = min(float(_cosines(answers[depth], found[depth]).min()) for depth in depths)
    return Probe(
        seed=PROBE_SEED,
        crops=PROBE_CROPS,
        least=round(reached - ALLOWANCE, 5),
        answers=tuple(
            base64.b64encode(rows.tobytes()).decode("ascii") for rows in answers.values()
        ),
    )


def find_verdict(models: Sequence[OpenModel], run: Run) -> Verdict:
    """Try a file, or look up what was found before.

    Args:
        models: the files that take part in an answer, from the shallowest on; the last is tried.
        run: embeds crops at the depths of the last.
    """
    manifest = models[-1].manifest
    if manifest.probe is None:
        return UNPROVED
    known = _place_of(models)
    if is_there(known):
        return _PROVED
    reached = _try(manifest, manifest.probe, run)
    # Written so that a NaN fails.
    if not reached >= manifest.probe.least:
        return Verdict(
            False,
            f"wrong: cosine {reached:.4f} to the answers that it must give, at least "
            f"{manifest.probe.least:.4f} is needed",
        )
    _remember(known)
    return _PROVED


def require_verdict(models: Sequence[OpenModel], run: Run) -> Verdict:
    """As `find_verdict`, but refuse a file that answers wrongly here.

    Raises:
        DeviceError: it does.
    """
    verdict = find_verdict(models, run)
    if not verdict.proved and verdict is not UNPROVED:
        model = models[-1]
        raise DeviceError(
            f"{model.path}: answers wrongly on this device ({verdict.text}): this processor or "
            f"runtime computes {model.manifest.precision} differently from where the file was "
            "made. Use the network as fp32 (`adln export --precision fp32`), export it again with "
            "this version of adln, or export it for OpenVINO (--out NAME.xml)."
        )
    return verdict


def run_alone(model: OpenModel) -> Run:
    """What embeds crops with one file that takes crops."""
    names = [model.manifest.output_names(depth)[0] for depth in model.manifest.depths]

    def run(crops: NDArray[np.uint8]) -> Answers:
        found = model.session.run(names, {CROPS: crops})
        return dict(zip(model.manifest.depths, found, strict=True))

    return run


def foreign_probe(manifest: Manifest, session: Any) -> Probe:
    """A probe of a network of another make, whose answers here count as the right ones."""
    (found,) = session.run(
        [manifest.output_names(manifest.depths[0])[0]], {CROPS: draw_probe(manifest)}
    )
    return write_probe(manifest.depths, {manifest.depths[0]: found}, {manifest.depths[0]: found})


def _try(manifest: Manifest, probe: Probe, run: Run) -> float:
    """The least cosine to the answers."""
    crops = draw_crops(
        probe.seed, probe.crops, height_px=manifest.height_px, width_px=manifest.width_px
    )
    found = run(crops)
    lowest = []
    for depth, text in zip(manifest.depths, probe.answers, strict=True):
        answers = np.frombuffer(base64.b64decode(text)[: 2 * len(crops) * manifest.dim], "<f2")
        lowest.append(_cosines(answers.reshape(len(crops), -1), found[depth]).min())
    return float(np.min(lowest))


def _cosines(expected: NDArray[np.float16], found: NDArray[np.float32]) -> NDArray[np.float64]:
    wide, other = expected.astype(np.float64), found.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(other, axis=1)
    cosines: NDArray[np.float64] = np.vecdot(wide, other) / lengths
    return cosines


def _place_of(models: Sequence[OpenModel]) -> Path:
    """Where it is remembered that these files are proved."""
    folder = user_folder("cache") / "proved"
    facts = [model.sha256 for model in models] + [*models[-1].runtime, *_processor()]
    return folder / hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


def _processor() -> list[str]:
    """How the first core describes itself."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            lines: list[str] = []
            for line in file:
                if not line.strip() and lines:
                    break
                if line.lower().startswith(_PROCESSOR_LINES):
                    lines.append(line.strip())
    except OSError:
        lines = []
    return [*lines, platform.machine(), platform.processor()]


def _remember(place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    except OSError:
        pass  # It is tried again next time.
