"""An exported file of Mask R-CNN R50-FPN on one image, beside the model and torchvision.

    python -m benchmarks.exported                     # 800 x 1333, two threads

All have the same random weights, standardised so that scores vary, and take the same image.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `python -m benchmarks`

import torch

import fastmrcnn
from benchmarks.cases.whole_model import our_model, their_model
from benchmarks.timing import interleave
from benchmarks.workloads import QUICK, STANDARD
from fastmrcnn.deployment import export, load_exported
from tests.models.peer import noise_images


def main(words: Sequence[str] | None = None) -> None:
    """Export, check against the model, time all in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0, help="for the timing")
    parser.add_argument("--quick", action="store_true", help="a tiny image: does the program work?")
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    workload = QUICK if options.quick else STANDARD
    theirs = their_model(workload, workload.photograph).eval()
    model = our_model(theirs, workload, workload.photograph, "NHWC").eval()
    [image] = noise_images(workload.photograph)
    pixels = (image.clamp(0, 1) * 255).to(torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        done = export(model, path, check_images=[pixels])
        print(f"onnx: {path.stat().st_size / 1e6:.1f} MB, exported in {done.seconds:.1f} s: {done.agreement}")
        exported = load_exported(path)
        optimised = fastmrcnn.optimize(model)
        rows = {
            "torchvision, eager": lambda: theirs([pixels.float() / 255]),
            "model": lambda: model([pixels])[0].masks,
            "fastmrcnn.optimize": lambda: optimised([pixels])[0].masks,
            "model.onnx in ONNX Runtime": lambda: exported.detect([pixels])[0].masks,
        }
        with torch.inference_mode():
            timings = interleave(list(rows.values()), options.seconds)
    print(f"| {workload.photograph[0]}x{workload.photograph[1]}, {options.threads} threads | ms, least | ms, median |")
    print("|---|---|---|")
    for name, timing in zip(rows, timings, strict=True):
        print(f"| {name} | {timing.min_ms:.0f} | {timing.median_ms:.0f} |")


if __name__ == "__main__":
    main()
