"""Mask targets of training: each positive RoI's object, cropped to the RoI and resampled to 28 x 28."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from benchmarks.case import Case, Contest, Work
from benchmarks.compare import close
from benchmarks.pixels import sampled_pixels
from benchmarks.workloads import Workload, generator
from fastmrcnn import ops
from fastmrcnn.models.mask_head import crop_masks

CELLS = 28


def cases(workload: Workload) -> Iterator[Case]:
    count = workload.objects[0]
    yield Case(
        f"{workload.positives} mask targets from {count} bitmaps", partial(_from_bitmaps, workload), in_readme=True
    )


def _from_bitmaps(workload: Workload) -> Contest:
    bitmaps, boxes, matched = _inputs(workload)
    size = workload.photograph
    touched = sampled_pixels(boxes, 1.0, CELLS, 0, False, size)
    return Contest(
        "torchvision",
        partial(project_masks_on_boxes, bitmaps, boxes, matched, CELLS),
        partial(crop_masks, bitmaps, boxes, matched, CELLS, aligned=False),
        close,
        Work(reads=touched.union, gathers=touched.distinct, writes=len(boxes) * CELLS**2 * 4),
    )


def _inputs(workload: Workload) -> tuple[Tensor, Tensor, Tensor]:
    """Bitmaps uint8 [M, H, W] of blob-shaped objects; boxes [P, 4] around them, and the object of each."""
    objects = workload.log_uniform_boxes(workload.objects[0], low=40)
    masks = workload.mask_probabilities(len(objects))
    bitmaps = ops.paste_masks(masks, objects, workload.photograph).to(torch.uint8)
    g = generator(5)
    matched = torch.randint(len(objects), (workload.positives,), generator=g).to(objects.device)
    sides = (objects[:, 2:] - objects[:, :2]).repeat(1, 2)[matched]
    jitter = 0.1 * torch.randn(workload.positives, 4, generator=g).to(objects.device) * sides
    boxes = ops.clip_boxes_to_image(objects[matched] + jitter, workload.photograph)
    return bitmaps, boxes, matched
