"""A training step of Mask R-CNN R50-FPN: two images forward and backward, and an update.

Both sides have the weights of `whole_model`, and draw the sample of anchors and RoIs alike from the seed. In bfloat16,
under autocast, the peer is torchvision's float32: that is the goal, and on most CPUs its faster one. Where the CPU has
no instructions for bfloat16, torch computes it several times slower than float32, and there is no such row.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Contest, Goal
from benchmarks.cases.whole_model import CLASSES, our_model, their_model
from benchmarks.workloads import DTYPES, Workload
from tests.models.peer import noise_images, noise_targets

OBJECTS = 10  # an image
# Relative, of the losses: proposals of equal score come in any order in torchvision, so the samples differ by a few
# RoIs; in bfloat16 by many.
MOST = {"float32": 0.02, "bfloat16": 0.1}


def cases(workload: Workload) -> Iterator[Case]:
    for height, width in workload.training_images:
        for dtype in ("float32", "bfloat16"):
            if dtype == "float32" or has_bfloat16():
                yield Case(
                    f"R50-FPN training step, 2 x {height}x{width}",
                    partial(_training, workload, (height, width), dtype),
                    dtype=dtype,
                    layout="NHWC",
                    goal=Goal(ratio=3.5 if dtype == "bfloat16" else None),
                    in_readme=True,
                    least_rounds=2,
                )


def has_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _training(workload: Workload, size: tuple[int, int], dtype: str) -> Contest:
    theirs = their_model(workload, size).train()
    ours = our_model(theirs, workload, size, "NHWC").train()
    images = noise_images(*[size] * 2)
    targets = noise_targets(images, [OBJECTS] * 2, CLASSES)
    return Contest(
        "torchvision" if dtype == "float32" else "torchvision float32",
        partial(training_step, theirs, images, targets),
        partial(training_step, ours, images, targets, dtype),
        partial(same_losses, most=MOST[dtype]),
    )


def training_step(
    model: Any, images: list[Tensor], targets: list[dict[str, Tensor]], dtype: str = "float32"
) -> dict[str, float]:
    """Forward, backward and an update of size 0, so that every step is the same; returns the losses."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    torch.manual_seed(0)
    with torch.autocast("cpu", DTYPES[dtype], enabled=dtype != "float32"):
        losses = model(images, targets)
    optimizer.zero_grad()
    torch.stack([loss.float() for loss in losses.values()]).sum().backward()
    optimizer.step()
    return {name: loss.item() for name, loss in losses.items()}


def same_losses(ours: dict[str, float], theirs: dict[str, float], most: float) -> str:
    """Every loss of the one like that of the other, within `most`, relative."""
    assert set(ours) == set(theirs)
    worst = max(abs(ours[name] - loss) / abs(loss) for name, loss in theirs.items())
    assert worst < most, f"losses {ours} against {theirs}"
    return f"losses within {worst:.1e}"
