"""Mask R-CNN R50-FPN as a whole on the GPU: one photograph, eight, and a training step; float32 and mixed precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Contest
from benchmarks.cases.whole_model import (
    CLASSES,
    OBJECTS,
    our_model,
    same_detections,
    same_losses,
    their_model,
    training_step,
)
from benchmarks.workloads import DTYPES, Workload
from tests.models.peer import noise_images, noise_targets

MIXED = ("float16", "bfloat16")


def cases(workload: Workload) -> Iterator[Case]:
    height, width = workload.photograph
    for batch in (1, 8):
        for dtype in ("float32", "float16"):
            yield Case(
                f"R50-FPN inference, {batch} x {height}x{width}",
                partial(_inference, workload, batch, dtype),
                dtype,
                "NHWC",
            )
    for dtype in ("float32", "bfloat16"):
        yield Case(f"R50-FPN training step, 2 x {height}x{width}", partial(_training, workload, dtype), dtype, "NHWC")


FAMILIES = {"whole_model": cases}


def _inference(workload: Workload, batch: int, dtype: str) -> Contest:
    theirs = their_model(workload, workload.photograph).eval()
    model = our_model(theirs, workload, workload.photograph, "NHWC").eval().cuda()
    theirs = theirs.cuda()
    images = [image.cuda() for image in noise_images(*[workload.photograph] * batch)]

    @torch.no_grad()
    def detect_theirs() -> list[dict[str, Tensor]]:
        with mixed(dtype):
            return theirs(images)

    @torch.no_grad()
    def detect_ours() -> list[tuple[Any, Tensor]]:
        with mixed(dtype):
            return [(found, found.masks) for found in model(images)]

    def check(ours: list[tuple[Any, Tensor]], expected: list[dict[str, Tensor]]) -> str:
        if dtype in MIXED:
            return f"{len(ours[0][0].boxes)} and {len(expected[0]['boxes'])} detections; compared in float32"
        return {same_detections(*pair) for pair in zip(ours, expected, strict=True)}.pop()

    return Contest("torchvision", detect_theirs, detect_ours, check)


def _training(workload: Workload, dtype: str) -> Contest:
    theirs = their_model(workload, workload.photograph).train()
    model = our_model(theirs, workload, workload.photograph, "NHWC").train().cuda()
    theirs = theirs.cuda()
    images = noise_images(*[workload.photograph] * 2)
    targets = [
        {name: value.cuda() for name, value in target.items()}
        for target in noise_targets(images, [OBJECTS] * 2, CLASSES)
    ]
    images = [image.cuda() for image in images]

    def step(network: Any) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            with mixed(dtype):
                return training_step(network, images, targets)

        return run

    def check(ours: dict[str, float], expected: dict[str, float]) -> str:
        return "compared in float32" if dtype in MIXED else same_losses(ours, expected)

    return Contest("torchvision", step(theirs), step(model), check)


def mixed(dtype: str) -> torch.autocast:
    return torch.autocast("cuda", DTYPES[dtype] if dtype in MIXED else torch.float16, enabled=dtype in MIXED)
