"""`python -m benchmarks.start_up`: the time from the start of a process to its first detection.

Processes of all kinds take turns. Beside the wall clock stands the time of the processor, all threads together, which
other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple


class Took(NamedTuple):
    """Seconds of one process."""

    wall: float
    processor: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print medians and the least."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_up", description=__doc__)
    parser.add_argument("--weights", nargs="+", default=["tiny"], help="models to load and predict with")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    programs = programs_of(options.weights)
    samples: dict[str, list[Took]] = {name: [] for name in programs}
    for program in programs.values():
        run(program)  # files into the system's cache, and Python's bytecode
    for _ in range(options.rounds):
        for name, program in programs.items():
            samples[name].append(run(program))
    print(f"{'seconds':<40}{'processor':>10}{'least':>10}{'wall':>10}{'least':>10}")
    for name, taken in samples.items():
        processor, wall = [one.processor for one in taken], [one.wall for one in taken]
        figures = (statistics.median(processor), min(processor), statistics.median(wall), min(wall))
        print(f"{name:<40}" + "".join(f"{seconds:>10.2f}" for seconds in figures))


def programs_of(weights: Sequence[str]) -> dict[str, str]:
    """By their names what the processes run."""
    image = str(resources.files("fastmrcnn") / "assets" / "coins.png")
    programs = {"import torch": "import torch", "import fastmrcnn": "import fastmrcnn"}
    for name in weights:
        load = f"import fastmrcnn; model = fastmrcnn.load_model({name!r})"
        programs |= {f"load {name}": load, f"load {name}, predict": f"{load}; model.predict({image!r})"}
    return programs


def run(program: str) -> Took:
    """Run a program in a process of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
