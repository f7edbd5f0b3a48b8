"""Validates a network file on this device: are its outputs those of the machine that made it?

Processors and runtimes differ in their arithmetic, and wrong arithmetic raises no error but returns
wrong people. So a file has a probe (`adln.manifest.Probe`), which is tried when it is opened for
the first time; the result is cached for this file, runtime and processor.
"""

import base64
import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adln.atomic import is_there, user_folder
from adln.errors import DeviceError
from adln.manifest import CROPS, Manifest, Probe
from adln.probe import draw_crops

if TYPE_CHECKING:
    from adln.embedders.session import OpenModel

# Lines of /proc/cpuinfo that identify a processor's arithmetic.
_PROCESSOR_LINES = ("model name", "hardware", "flags", "features", "cpu part")
PROBE_SEED, PROBE_CROPS = 0, 4
# Tolerance below the cosine reached where the file was made: kernels round differently.
ALLOWANCE = 0.002

Answers = Mapping[int, NDArray[np.float32]]
"""Depth -> (N, D) of unit length."""
Run = Callable[[NDArray[np.uint8]], Answers]
"""Embeds crops (N, H, W, 3) uint8 RGB: depth -> (N, D) float32 of unit length."""


@dataclass(frozen=True)
class Verdict:
    """Result of validating a file on this device, also in words; not proved without a probe."""

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
    """Record what torch answers to the crops of `draw_probe`, and how near the file comes."""
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


def find_verdict(models: Sequence["OpenModel"], run: Run) -> Verdict:
    """Validate the last of some files, shallowest first, or look up an earlier result.

    `run` embeds crops at the depths of the last.
    """
    manifest = models[-1].manifest
    if manifest.probe is None:
        return UNPROVED
    # Marks that these files are proved here.
    facts = [model.sha256 for model in models] + [*models[-1].runtime, *_processor()]
    name = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
    known = user_folder("cache") / "proved" / name
    if is_there(known):
        return _PROVED
    reached = _try(manifest, manifest.probe, run)
    # Negated, so that NaN fails.
    if not reached >= manifest.probe.least:
        return Verdict(
            False,
            f"wrong: cosine {reached:.4f} to the expected embeddings, at least "
            f"{manifest.probe.least:.4f} is needed",
        )
    with suppress(OSError):  # It is validated again next time.
        known.parent.mkdir(parents=True, exist_ok=True)
        known.touch()
    return _PROVED


def require_verdict(models: Sequence["OpenModel"], run: Run) -> Verdict:
    """Like `find_verdict`, but raise a `DeviceError` about a file whose outputs are wrong here."""
    verdict = find_verdict(models, run)
    if not verdict.proved and verdict is not UNPROVED:
        model = models[-1]
        raise DeviceError(
            f"{model.path}: wrong outputs on this device ({verdict.text}): this processor or "
            f"runtime computes {model.manifest.precision} differently from the machine that made "
            "the file. Use the network as fp32 (`adln export --precision fp32`), export it again "
            "with this version of adln, or export it for OpenVINO (--out NAME.xml)."
        )
    return verdict


def run_alone(model: "OpenModel") -> Run:
    """A function that embeds crops with a single file."""

    def run(crops: NDArray[np.uint8]) -> Answers:
        found = model.session.run(model.manifest.embedding_names, {CROPS: crops})
        return dict(zip(model.manifest.depths, found, strict=True))

    return run


def _try(manifest: Manifest, probe: Probe, run: Run) -> float:
    """The smallest cosine to the expected embeddings."""
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


def _processor() -> list[str]:
    """The first core's description."""
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
