"""Registers and spills of every shipped CUDA kernel: `python -m tests.cuda.resources BUILD_LOG [--update]`.

The log is that of a build with `CMAKE_CUDA_FLAGS=--resource-usage`, in which ptxas tells of every kernel and
architecture. A kernel that spills, or takes more registers than `registers.json` allows it, fails; so does one that is
not named there, for a bound is a decision. Kernels of CUB are only held not to spill.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

BOUNDS = Path(__file__).with_name("registers.json")
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")


@dataclass(frozen=True)
class Usage:
    """What ptxas says of one kernel on one architecture."""

    kernel: str  # qualified name without template arguments and parameters
    architecture: str
    registers: int
    spilled_bytes: int


def read(log: str) -> list[Usage]:
    """Every kernel that the log of a build tells of."""
    found: list[tuple[str, str, int, int]] = []
    entry, spilled = None, 0
    for line in log.splitlines():
        if match := ENTRY.search(line):
            entry, spilled = match.groups(), 0
        elif match := STACK.search(line):
            spilled = int(match[2]) + int(match[3])
        elif entry and (match := USED.search(line)):
            found.append((*entry, int(match[1]), spilled))
            entry = None
    names = dict(zip((name for name, *_ in found), _demangled(name for name, *_ in found), strict=True))
    return [Usage(names[name], *rest) for name, *rest in found]


def problems(usages: Sequence[Usage], bounds: dict[str, int]) -> list[str]:
    """A line for each kernel that is not as it should be."""
    lines = []
    for usage in usages:
        where = f"{usage.kernel} on {usage.architecture}"
        if usage.spilled_bytes:
            lines.append(f"{where} spills {usage.spilled_bytes} bytes")
        if usage.kernel.startswith("cub::"):
            continue
        if usage.kernel not in bounds:
            lines.append(f"{where} takes {usage.registers} registers; {BOUNDS.name} has no bound for it")
        elif usage.registers > bounds[usage.kernel]:
            lines.append(f"{where} takes {usage.registers} registers; its bound is {bounds[usage.kernel]}")
    named = {usage.kernel for usage in usages}
    return lines + [
        f"{kernel} has a bound, but the log does not tell of it" for kernel in bounds if kernel not in named
    ]


def most_registers(usages: Iterable[Usage]) -> dict[str, int]:
    """Of each kernel, over its instances and architectures."""
    most: dict[str, int] = defaultdict(int)
    for usage in usages:
        if not usage.kernel.startswith("cub::"):
            most[usage.kernel] = max(most[usage.kernel], usage.registers)
    return dict(sorted(most.items()))


def _demangled(names: Iterable[str]) -> list[str]:
    text = "\n".join(names)
    full = subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    return [_qualified(name) for name in full]


def _qualified(signature: str) -> str:
    """`void a::(anonymous namespace)::f<float>(int)` -> `a::f`."""
    signature = signature.replace("(anonymous namespace)::", "")
    while (shorter := re.sub(r"<[^<>]*>", "", signature)) != signature:
        signature = shorter
    return signature.split("(")[0].split()[-1]


def main(arguments: Sequence[str]) -> int:
    usages = read(Path(arguments[0]).read_text(encoding="utf-8", errors="replace"))
    if "--update" in arguments:
        BOUNDS.write_text(json.dumps(most_registers(usages), indent=1) + "\n", encoding="utf-8")
    found = problems(usages, json.loads(BOUNDS.read_text(encoding="utf-8")))
    architectures = sorted({usage.architecture for usage in usages})
    print(*found, f"{len(usages)} kernels for {' '.join(architectures)}: {len(found)} problems", sep="\n")
    return 1 if found or not usages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
