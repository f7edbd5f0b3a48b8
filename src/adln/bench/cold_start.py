"""Cold start: time and memory from the start of the interpreter to the first embedding.

Measures what happens on a device after each restart, for the networks of Sec. II. Run as
`python -m adln.bench.cold_start FILE` in a separate process; it prints one JSON object.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median_high

from adln.embedders.session import Runtime
from adln.errors import ModelFileError


@dataclass(frozen=True)
class ColdStart:
    """Cost of the first embedding of a fresh process.

    Attributes:
        cpu_s: CPU time since the start of the process, including interpreter and imports.
        peak_mib: peak resident memory; None if unknown.
    """

    cpu_s: float
    wall_s: float
    peak_mib: float | None


def measure_cold_start(
    path: Path, peer_runtime: Runtime | None = None, *, times: int = 3
) -> ColdStart:
    """Start fresh processes that open a network file and embed one picture.

    Args:
        path: a file of `adln export`, or a peer.
        peer_runtime: None for a file of `adln export`. A peer gets pixels instead of a picture.
        times: number of processes; medians are returned. One more is started first, so that the
            files are cached in memory.

    Raises:
        ModelFileError: the process failed.
    """
    command = [sys.executable, "-m", "adln.bench.cold_start", str(path)]
    command += [] if peer_runtime is None else ["--peer", peer_runtime]
    starts = []
    for _ in range(times + 1):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall_s = time.perf_counter() - began
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise ModelFileError(f"{path}: a fresh process could not run it: {reason}")
        starts.append({**json.loads(done.stdout), "wall_s": wall_s})
    rest = starts[1:]
    peaks = [start["peak_mib"] for start in rest if start["peak_mib"] is not None]
    return ColdStart(
        cpu_s=median_high(start["cpu_s"] for start in rest),
        wall_s=median_high(start["wall_s"] for start in rest),
        peak_mib=max(peaks, default=None),
    )


def peak_memory_mib() -> float | None:
    """Peak resident memory of this process; None if unknown."""
    try:
        # Linux's getrusage would include the memory of the parent process.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main(arguments: list[str]) -> None:
    """Embed one picture and print its cost."""
    path = Path(arguments[0])
    if "--peer" in arguments:
        from adln.bench.candidates import Candidate, OnnxCandidate, OpenVinoCandidate

        candidate: Candidate
        if arguments[-1] == "openvino":
            candidate = OpenVinoCandidate(path, threads=1)
        else:
            candidate = OnnxCandidate(path, threads=1, own=False)
        run = candidate.build_run(1)
        if run is not None:
            run()
    else:
        import io

        from PIL import Image

        from adln.embedders.embedder import OnnxEmbedder

        picture = io.BytesIO()
        Image.new("RGB", (64, 128), (128, 128, 128)).save(picture, "JPEG")
        OnnxEmbedder(path, threads=1).embed_picture(picture.getvalue())
    cost = {"cpu_s": time.process_time(), "peak_mib": peak_memory_mib()}
    sys.stdout.write(json.dumps(cost))


if __name__ == "__main__":
    main(sys.argv[1:])
