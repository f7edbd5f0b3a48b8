"""Hides instructions from onnxruntime: a script for gdb, started by `benchmarks.without_vnni`.

    gdb -nx -q -batch-silent -x benchmarks/mask_cpuid.py --args python ...

onnxruntime asks the processor once what it can do (instruction CPUID) and chooses its kernels
accordingly. When its library is loaded, this script sets breakpoints at all CPUID instructions in
it and clears bits in their answers. Everything else runs as fast as ever. Processes that the
command starts are not covered.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gdb  # type: ignore[import-untyped]

LIBRARY = "onnxruntime_pybind11_state"
# Exit code if the command never asked, or asked and the processor has none of the instructions.
NOTHING_HIDDEN = 125

# Source: Intel 64 and IA-32 Architectures Software Developer's Manual, CPUID.
# (leaf, subleaf) -> register -> bit -> what it stands for.
HIDDEN: dict[tuple[int, int], dict[str, dict[int, str]]] = {
    (7, 0): {
        "ebx": {
            16: "AVX512F",
            17: "AVX512DQ",
            21: "AVX512_IFMA",
            28: "AVX512CD",
            30: "AVX512BW",
            31: "AVX512VL",
        },
        "ecx": {
            1: "AVX512_VBMI",
            6: "AVX512_VBMI2",
            11: "AVX512_VNNI",
            12: "AVX512_BITALG",
            14: "AVX512_VPOPCNTDQ",
        },
        "edx": {
            8: "AVX512_VP2INTERSECT",
            22: "AMX-BF16",
            23: "AVX512_FP16",
            24: "AMX-TILE",
            25: "AMX-INT8",
        },
    },
    (7, 1): {
        "eax": {4: "AVX-VNNI", 5: "AVX512_BF16"},
        "edx": {4: "AVX-VNNI-INT8", 10: "AVX-VNNI-INT16", 19: "AVX10"},
    },
}

# Leaf and subleaf that a thread is asking for.
asked: dict[int, tuple[int, int]] = {}
hidden: dict[str, None] = {}  # names, in the order in which they were found


class Question(gdb.Breakpoint):  # type: ignore[misc]
    """At a CPUID instruction."""

    def stop(self) -> bool:
        """Remember what is asked, and go on."""
        asked[gdb.selected_thread().num] = (register("eax"), register("ecx"))
        return False


class Answer(gdb.Breakpoint):  # type: ignore[misc]
    """Behind a CPUID instruction."""

    def stop(self) -> bool:
        """Clear bits of the answer, and go on."""
        question = asked.pop(gdb.selected_thread().num, None)
        if question in HIDDEN:
            for name, bits in HIDDEN[question].items():
                value = register(name)
                found = [bit for bit in bits if value >> bit & 1]
                hidden.update(dict.fromkeys(bits[bit] for bit in found))
                # As the instruction does, this clears the upper half of the register.
                masked = value & ~sum(1 << bit for bit in found)
                gdb.execute(f"set $r{name[1:]} = {masked:#x}")
        return False


def register(name: str) -> int:
    """The lower 32 bits of a register."""
    return int(gdb.parse_and_eval(f"$r{name[1:]}")) & 0xFFFFFFFF


def cpuid_addresses(path: str) -> Iterator[int]:
    """Where CPUID instructions stand in a library, relative to its start."""
    command = ["objdump", "-d", "--no-show-raw-insn", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "cpuid" in line and (match := re.match(r"\s*([0-9a-f]+):\s+cpuid\s*$", line)):
                yield int(match[1], 16)


def find_library() -> tuple[str, int]:
    """Path of onnxruntime's library and where it was loaded."""
    with Path(f"/proc/{gdb.selected_inferior().pid}/maps").open(encoding="utf-8") as file:
        for line in file:
            # Range, permissions, offset, device, inode, path; the first one is the start.
            fields = line.split(maxsplit=5)
            if LIBRARY in fields[-1]:
                return fields[-1].strip(), int(fields[0].partition("-")[0], 16)
    raise SystemExit(f"{LIBRARY} is not loaded")


def watch_library() -> None:
    """Set the breakpoints."""
    path, start = find_library()
    addresses = [start + address for address in cpuid_addresses(path)]
    for address in addresses:
        Question(f"*{address:#x}", internal=True)
        Answer(f"*{address + 2:#x}", internal=True)  # CPUID is two bytes long


def main() -> int:
    """Run the command; returns its exit code."""
    for setting in (
        "pagination off",
        "confirm off",
        "debuginfod enabled off",
        "disable-randomization off",
        "auto-solib-add off",
        "print thread-events off",
    ):
        gdb.execute(f"set {setting}")
    gdb.execute("handle all nostop noprint pass", to_string=True)
    for name in ("LINES", "COLUMNS"):  # gdb sets them
        if name not in os.environ:
            gdb.execute(f"unset environment {name}")
    gdb.execute(f"catch load {LIBRARY}")
    gdb.execute("run")
    if gdb.selected_inferior().pid:
        watch_library()
        gdb.execute("delete 1")
        gdb.execute("continue")
    sys.stderr.write(f"hidden from onnxruntime: {', '.join(hidden) or 'nothing'}\n")
    if not hidden:
        return NOTHING_HIDDEN
    if gdb.selected_inferior().pid:  # interrupted
        gdb.execute("kill")
        return 128 + signal.SIGINT
    code = gdb.convenience_variable("_exitcode")
    return int(code) if code is not None else 128 + int(gdb.convenience_variable("_exitsignal"))


gdb.execute(f"quit {main()}")
