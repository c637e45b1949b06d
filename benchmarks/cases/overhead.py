"""What a call costs that has next to nothing to do: argument checks, allocation, dispatch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor

from benchmarks.case import Case, Contest, Goal
from benchmarks.compare import close, identical
from benchmarks.workloads import Workload, generator
from fastmrcnn import ops


def cases(workload: Workload) -> Iterator[Case]:
    for op, prepare, most in (
        ("call overhead: nms of 1 box", _nms, 3e-3),
        ("call overhead: roi_align of 1 RoI", _roi_align, 3e-3),
        ("call overhead: roi_align of 1 RoI, forward and backward", _roi_align_and_backward, 30e-3),
    ):
        yield Case(op, partial(prepare, workload), goal=Goal(ratio=1, milliseconds=most), in_readme=True)


def _nms(workload: Workload) -> Contest:
    box = torch.tensor([[0.0, 0, 10, 10]], device=workload.device)
    score = torch.tensor([0.5], device=workload.device)
    return Contest(
        "torchvision", partial(torchvision.ops.nms, box, score, 0.5), partial(ops.nms, box, score, 0.5), identical
    )


def _roi_align(workload: Workload) -> Contest:
    feature, roi = _inputs(workload)
    return Contest(
        "torchvision",
        partial(torchvision.ops.roi_align, feature, roi, 1, 1.0, 1),
        partial(ops.roi_align, feature, roi, 1, 1.0, 1),
        close,
    )


def _roi_align_and_backward(workload: Workload) -> Contest:
    feature, roi = _inputs(workload)
    leaf = feature.requires_grad_()
    gradient = torch.ones(1, feature.shape[1], 1, 1, device=workload.device)

    def through(roi_align: Callable[..., Any]) -> Tensor:
        return torch.autograd.grad(roi_align(leaf, roi, 1, 1.0, 1), leaf, gradient)[0]

    return Contest("torchvision", partial(through, torchvision.ops.roi_align), partial(through, ops.roi_align), close)


def _inputs(workload: Workload) -> tuple[Tensor, Tensor]:
    feature = torch.rand(1, 8, 4, 4, generator=generator()).to(workload.device)
    return feature, torch.tensor([[0.0, 0, 0, 3, 3]], device=workload.device)
