"""Peak memory of inference, of torchvision's model, of ours and of ours optimised: each in a process of its own.

    python -m benchmarks.memory [--document DEPLOYMENT.md]

Every side returns the bitmaps of its masks: torchvision's model float probabilities of the image's size, ours booleans.
Run with a side and numbers, this program detects once and prints what that needed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# Before torch starts its pool: idle threads sleep instead of spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from benchmarks.cases.whole_model import our_model, standardised, their_model
from benchmarks.training.report import circumstances, rewrite
from benchmarks.workloads import QUICK, STANDARD
from fastmrcnn import optimize
from fastmrcnn.memory import forget_peak, peak_bytes, resident_bytes
from tests.models.peer import noise_images

CASES = ((1, 160, 240), (1, 800, 1333), (8, 800, 1333), (1, 1600, 2666))  # images, (height, width) in the network
QUICK_CASES = ((1, 60, 90), (2, 60, 90))
SIDES = {"theirs": "torchvision", "ours": "fastmrcnn", "optimised": "fastmrcnn, optimised"}
MIB = 2.0**20


def table(*, quick: bool = False) -> str:
    """MiB of each side."""
    lines = [
        f"`python -m benchmarks.memory`: R50-FPN, float32, {circumstances()}. MiB of the process with network and "
        "images, and at the peak of a call.",
        "",
        f"| images |{''.join(f' {name} | at the peak |' for name in SIDES.values())} ratio of the peaks |",
        f"|---|{'---:|' * (2 * len(SIDES) + 1)}",
    ]
    for case in QUICK_CASES if quick else CASES:
        found = {side: measure(side, case) for side in SIDES}
        cells = [f"{value:,.0f}" for values in found.values() for value in (values["before"], values["peak"])]
        ratios = [f"x{found['theirs']['peak'] / found[side]['peak']:.2f}" for side in ("ours", "optimised")]
        lines.append(f"| {case[0]} x {case[1]}x{case[2]} | {' | '.join(cells)} | {', '.join(ratios)} |")
    return "\n".join(lines)


def measure(side: str, case: tuple[int, int, int]) -> dict[str, float]:
    """``before`` and ``peak`` of a call in a process of its own, MiB."""
    command = [sys.executable, "-m", "benchmarks.memory", side, *map(str, case)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def detect_once(side: str, images: int, height: int, width: int) -> dict[str, float]:
    """What a call needs in this process."""
    size = (height, width)
    workload = STANDARD if min(size) > max(QUICK.photograph) else QUICK
    model: Any = their_model(workload, size).eval()
    if side != "theirs":
        model = our_model(model, workload, size, "NHWC").eval()
        standardised.cache_clear()  # whose peak is no part of the call's
    if side == "optimised":
        model = optimize(model, sample=[])
    pictures = noise_images(*[size] * images)
    gc.collect()
    trim_heap()
    before = resident_bytes()
    forget_peak()
    with torch.inference_mode():
        found = model(pictures)
        bitmaps = None if side == "theirs" else [detections.masks for detections in found]
    peak = peak_bytes()
    assert bitmaps is None or len(bitmaps) == images
    return {"before": before / MIB, "peak": peak / MIB}


def trim_heap() -> None:
    """Give back what was freed: networks that others were made of are no part of what is measured."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in SIDES:
        print(json.dumps(detect_once(sys.argv[1], *map(int, sys.argv[2:]))))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--document", type=Path, help="put the table between the markers of this document")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does the program work?")
    options = parser.parse_args()
    measured = table(quick=options.quick)
    print(measured)
    if options.document:
        rewrite(options.document, {"inference": measured}, "memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
