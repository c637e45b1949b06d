"""Mask targets of training: each positive RoI's object, cropped to the RoI and resampled to 28 x 28."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from benchmarks import peers
from benchmarks.case import Case, Contest, Work
from benchmarks.compare import close
from benchmarks.pixels import sampled_pixels
from benchmarks.workloads import Workload, generator
from fastmrcnn import ops

CELLS = 28
VERTICES = 40  # of a polygon: COCO's have some 25 to 50


@dataclass(frozen=True)
class Objects:
    """The annotated objects of one photograph, and the positive RoIs around them."""

    polygons: list[list[list[float]]]  # COCO's form: one polygon an object
    boxes: Tensor  # [P, 4]
    matched: Tensor  # [P] int64: the object of each RoI


def cases(workload: Workload) -> Iterator[Case]:
    for source, prepare in (("bitmaps", _from_bitmaps), ("RLE", _from_rle), ("polygons", _from_polygons)):
        yield Case(
            f"{workload.positives} mask targets from {workload.objects[0]} {source}",
            partial(prepare, workload),
            in_readme=True,
        )


def make_objects(workload: Workload) -> Objects:
    boxes = workload.log_uniform_boxes(workload.objects[0], low=40)
    g = generator(5)
    angle = torch.linspace(0, 2 * torch.pi, VERTICES + 1)[:-1]
    phase, depth = torch.rand(2, len(boxes), 1, generator=g)
    radius = 0.8 + 0.2 * depth * torch.sin(5 * angle + 6.28 * phase)  # [M, VERTICES], of half the box
    outline = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=2)  # [M, VERTICES, 2]
    corner, opposite = boxes.cpu()[:, None, :2], boxes.cpu()[:, None, 2:]
    points = (corner + opposite) / 2 + outline * (opposite - corner) / 2
    matched = torch.randint(len(boxes), (workload.positives,), generator=g).to(boxes.device)
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)[matched]
    jitter = 0.1 * torch.randn(workload.positives, 4, generator=g).to(boxes.device) * sides
    rois = ops.clip_boxes_to_image(boxes[matched] + jitter, workload.photograph)
    return Objects([[shape.flatten().tolist()] for shape in points], rois, matched)


def _from_bitmaps(workload: Workload) -> Contest:
    objects = make_objects(workload)
    bitmaps = peers.draw(objects.polygons, workload.photograph).contiguous().to(objects.boxes.device)
    touched = sampled_pixels(objects.boxes, 1.0, CELLS, 0, False, workload.photograph)
    # A byte for each pixel under a RoI; what the encodings of the other cases take is next to nothing.
    work = Work(reads=touched.union, gathers=touched.distinct, writes=len(objects.boxes) * CELLS**2 * 4)
    return _contest("torchvision", objects, lambda: bitmaps, lambda: bitmaps, work)


def _from_rle(workload: Workload) -> Contest:
    """From the annotations as they are read from JSON, on either side."""
    objects, size = make_objects(workload), workload.photograph
    device = objects.boxes.device
    encoded = ops.InstanceMasks.from_coco(objects.polygons, *size).to_rle()
    return _contest(
        f"{peers.ENCODER} + torchvision",
        objects,
        lambda: peers.decode_rle(encoded, size).to(device),
        lambda: ops.InstanceMasks.from_coco(encoded, *size),
    )


def _from_polygons(workload: Workload) -> Contest:
    """From the annotations as they are read from JSON, on either side."""
    objects, size = make_objects(workload), workload.photograph
    return _contest(
        f"{peers.ENCODER} + torchvision",
        objects,
        lambda: peers.draw(objects.polygons, size).to(objects.boxes.device),
        lambda: ops.InstanceMasks.from_coco(objects.polygons, *size),
    )


def _contest(
    peer_name: str,
    objects: Objects,
    read_theirs: Callable[[], Tensor],
    read_ours: Callable[[], Any],
    work: Work | None = None,
) -> Contest:
    boxes, matched = objects.boxes, objects.matched
    return Contest(
        peer_name,
        lambda: project_masks_on_boxes(read_theirs(), boxes, matched, CELLS),
        lambda: ops.crop_masks(read_ours(), boxes, matched, CELLS),
        close,
        work,
    )
