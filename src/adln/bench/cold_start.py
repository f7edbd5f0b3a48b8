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

from adln.embedders.session import Runtime
from adln.errors import ModelFileError

_BYTES_PER_MIB = 2**20


@dataclass(frozen=True)
class ColdStart:
    """Cost of the first embedding of a fresh process.

    Attributes:
        cpu_s: CPU time since the start of the process, including interpreter and imports, in s.
        wall_s: elapsed time, in s.
        peak_mib: peak resident memory; None if unknown.
    """

    cpu_s: float
    wall_s: float
    peak_mib: float | None


def measure_cold_start(
    path: Path, *, own: bool = True, runtime: Runtime = "onnxruntime", times: int = 3
) -> ColdStart:
    """Start fresh processes that open a network file and embed one picture.

    Args:
        path: a file of `adln export`, or a peer.
        own: whether it is a file of `adln export`. A peer gets pixels instead of a picture.
        runtime: runtime for a peer.
        times: number of processes; medians are returned. One more is started first, so that the
            files are cached in memory.

    Raises:
        ModelFileError: the process failed.
    """
    command = [sys.executable, "-m", "adln.bench.cold_start", str(path)]
    command += [] if own else ["--peer", runtime]
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
    middle = len(rest) // 2
    peaks = [start["peak_mib"] for start in rest if start["peak_mib"] is not None]
    return ColdStart(
        cpu_s=sorted(start["cpu_s"] for start in rest)[middle],
        wall_s=sorted(start["wall_s"] for start in rest)[middle],
        peak_mib=max(peaks) if peaks else None,
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
    return peak / _BYTES_PER_MIB if sys.platform == "darwin" else peak / 1024


def main(arguments: list[str]) -> None:
    """Embed one picture and print its cost."""
    path = Path(arguments[0])
    if "--peer" in arguments:
        from adln.bench.candidates import Candidate, OnnxCandidate, OpenVinoCandidate

        candidate: Candidate = (
            OpenVinoCandidate(path, threads=1)
            if arguments[-1] == "openvino"
            else OnnxCandidate(path, threads=1, own=False)
        )
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
