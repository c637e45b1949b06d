"""Mask R-CNN R50-FPN as a whole on the GPU: one photograph, eight, and a training step; float32 and mixed precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Contest
from benchmarks.cases.training import OBJECTS, same_losses, training_step
from benchmarks.cases.whole_model import CLASSES, our_model, same_detections, their_model
from benchmarks.workloads import DTYPES, Workload
from fastmrcnn.models import GraphedDetector
from fastmrcnn.models.instances import PaddedInstances
from fastmrcnn.structures import Detections
from tests.models.peer import noise_images, noise_targets
from tests.models.precision import float32_convolutions

MIXED = ("float16", "bfloat16")


def cases(workload: Workload) -> Iterator[Case]:
    height, width = workload.photograph
    for batch in (1, 8):
        for dtype in ("float32", "float16"):
            for graphed, name in ((False, ""), (True, ", CUDA graph")):
                yield Case(
                    f"R50-FPN inference, {batch} x {height}x{width}{name}",
                    partial(_inference, workload, batch, dtype, graphed=graphed),
                    dtype,
                    "NHWC",
                )
    for dtype in ("float32", "bfloat16"):
        yield Case(f"R50-FPN training step, 2 x {height}x{width}", partial(_training, workload, dtype), dtype, "NHWC")


FAMILIES = {"whole_model": cases}


def _inference(workload: Workload, batch: int, dtype: str, *, graphed: bool) -> Contest:
    """With a graph the detections stay on the device with their masks of 28 x 28; else bitmaps are pasted, as by the
    peer."""
    theirs = their_model(workload, workload.photograph).eval()
    model = our_model(theirs, workload, workload.photograph, "NHWC").eval().cuda()
    theirs = theirs.cuda()
    images = [image.cuda() for image in noise_images(*[workload.photograph] * batch)]

    @torch.no_grad()
    def detect_theirs() -> list[dict[str, Tensor]]:
        with mixed(dtype):
            return theirs(images)

    @torch.no_grad()
    def detect_ours() -> list[tuple[Detections, Tensor]]:
        with mixed(dtype):
            return [(found, found.masks) for found in model(images)]

    def check(ours: list[tuple[Detections, Tensor]], expected: list[dict[str, Tensor]]) -> str:
        if dtype in MIXED:
            return f"{len(ours[0][0].boxes)} and {len(expected[0]['boxes'])} detections; compared in float32"
        with float32_convolutions():
            pairs = [*zip(detect_ours(), detect_theirs(), strict=True)]
        return {same_detections(*pair) for pair in pairs}.pop()

    if not graphed:
        return Contest("torchvision", detect_theirs, detect_ours, check)

    prepared = model.transform(images)
    with mixed(dtype):
        detector = GraphedDetector(model, prepared.pixels, prepared.image_sizes)

    def replay() -> PaddedInstances:
        return detector(prepared.pixels, prepared.image_sizes)

    def check_counts(ours: PaddedInstances, expected: list[dict[str, Tensor]]) -> str:
        check(detect_ours(), expected)
        counts, wanted = ours.counts.tolist(), [len(found.boxes) for found, _ in detect_ours()]
        assert counts == wanted, f"{counts} detections in the graph, {wanted} outside of it"
        return f"as many detections as without a graph, {sum(counts)}"

    return Contest("torchvision", detect_theirs, replay, check_counts)


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
        # On a GPU the two sides draw different samples of anchors and RoIs from one seed.
        return "compared in float32" if dtype in MIXED else same_losses(ours, expected, most=0.3)

    return Contest("torchvision", step(theirs), step(model), check)


def mixed(dtype: str) -> torch.autocast:
    return torch.autocast("cuda", DTYPES[dtype] if dtype in MIXED else torch.float16, enabled=dtype in MIXED)
