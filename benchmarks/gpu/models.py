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
from fastmrcnn import optimize
from fastmrcnn.deployment import compare
from fastmrcnn.models import GraphedDetector, MaskRCNN
from fastmrcnn.models.instances import PaddedInstances
from fastmrcnn.structures import Detections
from tests.models.peer import noise_images, noise_targets
from tests.models.precision import float32_convolutions

MIXED = ("float16", "bfloat16")


def cases(workload: Workload) -> Iterator[Case]:
    height, width = workload.photograph
    for batch in (1, 8):
        for dtype in ("float32", "float16"):
            name = f"R50-FPN inference, {batch} x {height}x{width}"
            for kind in ("", ", CUDA graph", ", optimised"):
                yield Case(f"{name}{kind}", partial(_inference, workload, batch, dtype, kind), dtype, "NHWC")
    for dtype in ("float32", "bfloat16"):
        yield Case(f"R50-FPN training step, 2 x {height}x{width}", partial(_training, workload, dtype), dtype, "NHWC")


FAMILIES = {"whole_model": cases}


def _inference(workload: Workload, batch: int, dtype: str, kind: str) -> Contest:
    """With a graph, and of the optimised model, which resizes too, the detections stay on the device with their masks
    of 28 x 28; else bitmaps are pasted, as by the peer."""
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

    if kind == "":
        return Contest("torchvision", detect_theirs, detect_ours, with_peaks(check, detect_ours, detect_theirs))
    if kind == ", optimised":
        return _optimised(model, images, dtype, detect_theirs, lambda: [found for found, _ in detect_ours()])

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


def _optimised(
    model: MaskRCNN,
    images: list[Tensor],
    dtype: str,
    detect_theirs: Callable[[], list[dict[str, Tensor]]],
    detect_plain: Callable[[], list[Detections]],
) -> Contest:
    """:func:`fastmrcnn.optimize` in the precision ``dtype``; compared with the plain model, which is with the peer."""
    fast = optimize(model, precision=dtype, sample=images[:1])

    @torch.no_grad()
    def detect() -> PaddedInstances:
        return fast.detect_padded(images)

    def check(ours: PaddedInstances, _: list[dict[str, Tensor]]) -> str:
        steps = ", ".join(step.name for step in fast.report.steps if step.done)
        with torch.no_grad():
            agreement = compare(detect_plain(), fast.detect(images))
        assert agreement.alone <= 0.1 * agreement.detections, f"from the plain model: {agreement}"
        return f"{steps}; from the plain model: {agreement}"

    return Contest("torchvision", detect_theirs, detect, with_peaks(check, detect, detect_theirs))


def with_peaks(check: Callable[[Any, Any], str], ours: Callable[[], Any], theirs: Callable[[], Any]) -> Any:
    """``check`` that also says the most memory that a call takes of the GPU, beside the tensors that were there."""

    def peak(function: Callable[[], Any]) -> float:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    def checked(found: Any, expected: Any) -> str:
        return f"{check(found, expected)}; a call takes {peak(ours):.0f} MiB, the peer's {peak(theirs):.0f}"

    return checked


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
