"""Peak memory of a training step on crowded images: each side alone in a process of its own.

Both get the same annotated polygons. torchvision's model takes bitmaps of image size, one an object; ours takes
the polygons. Run as a program, this module takes one step and prints what it needed.
"""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases.training import training_step
from benchmarks.cases.whole_model import CLASSES, our_model, standardised, their_model
from benchmarks.training.report import circumstances
from benchmarks.workloads import STANDARD, generator
from fastmrcnn.memory import forget_peak, peak_bytes, resident_bytes
from fastmrcnn.ops import InstanceMasks
from tests.models.peer import noise_images

INSTANCES = (10, 50, 200)  # an image
VERTICES = 40  # of an outline
IMAGES = 2
MIB = 2.0**20


def table(size: tuple[int, int]) -> str:
    """Peaks of both sides, by instances an image."""
    lines = [
        f"R50-FPN, {IMAGES} x {size[0]}x{size[1]}, float32, {circumstances()}. MiB of the process with network, images "
        "and annotations, and at the peak of a step.",
        "",
        "| instances an image | torchvision | at the peak | fastmrcnn | at the peak | ratio of the peaks |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for instances in INSTANCES:
        theirs, ours = (measure(side, size, instances) for side in ("theirs", "ours"))
        cells = [f"{value:,.0f}" for side in (theirs, ours) for value in (side["before"], side["peak"])]
        lines.append(f"| {instances} | {' | '.join(cells)} | x{theirs['peak'] / ours['peak']:.2f} |")
    return "\n".join(lines)


def measure(side: str, size: tuple[int, int], instances: int) -> dict[str, float]:
    """``before`` and ``peak`` of a step in a process of its own, MiB."""
    command = [sys.executable, "-m", "benchmarks.training.memory", side, *map(str, (*size, instances))]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def outlines(size: tuple[int, int], count: int, seed: int) -> list[list[list[float]]]:
    """``count`` objects as COCO has them: wavy outlines, of 16 to 200 px in an image of 800 x 1333."""
    g = generator(seed)
    height, width = size
    radius = torch.exp(torch.rand(count, 1, generator=g) * math.log(12.5)) * (8 * height / 800)
    centre = radius[:, None] + torch.rand(count, 1, 2, generator=g) * (
        torch.tensor([width, height]) - 2 * radius[:, None]
    )
    angle = torch.linspace(0, 2 * torch.pi, VERTICES + 1)[:-1]
    reach = radius * (0.8 + 0.2 * torch.sin(5 * angle))
    points = centre + torch.stack((reach * angle.cos(), reach * angle.sin()), dim=2)  # [count, VERTICES, 2]
    return [[shape.flatten().tolist()] for shape in points]


def make_targets(size: tuple[int, int], instances: int, *, as_bitmaps: bool) -> list[Mapping[str, Any]]:
    targets = []
    for image in range(IMAGES):
        masks = InstanceMasks.from_coco(outlines(size, instances, seed=image), *size)
        labels = torch.randint(1, CLASSES, (instances,), generator=generator(image))
        drawn: Tensor | InstanceMasks = masks.to_bitmaps() if as_bitmaps else masks
        targets.append({"boxes": masks.boxes(), "labels": labels, "masks": drawn})
    return targets


def main(side: str, *numbers: str) -> None:
    height, width, instances = map(int, numbers)
    size = (height, width)
    model: Any = their_model(STANDARD, size)
    if side == "ours":
        model = our_model(model, STANDARD, size, "NHWC")
        standardised.cache_clear()  # whose peak is no part of the step's
        gc.collect()
    images = noise_images(*[size] * IMAGES)
    targets = make_targets(size, instances, as_bitmaps=side == "theirs")
    before = resident_bytes()
    forget_peak()
    training_step(model.train(), images, targets)
    peak = peak_bytes()
    print(json.dumps({"before": before / MIB, "peak": peak / MIB}))


if __name__ == "__main__":
    main(*sys.argv[1:])
