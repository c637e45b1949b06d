"""Augmentation of one annotated photograph in a worker of the loader: sample in, sample out.

The peer is torchvision's `transforms.v2` with its masks, bitmaps that are drawn already; ours are polygons before and
after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks.case import Case, Contest
from benchmarks.cases.mask_targets import make_objects
from benchmarks.workloads import Workload, generator
from fastmrcnn.data import Sample
from fastmrcnn.data.transforms import ColorJitter, HorizontalFlip, LargeScaleJitter, MultiScale, Transform
from fastmrcnn.data.transforms.copy_paste import paste
from fastmrcnn.ops import InstanceMasks

SQUARE = 1024  # of large-scale jitter, px, as published for photographs of about this size
LEAST_IOU = 0.9  # of the masks of all objects together
SHORTER = 640  # px, the smallest of the published drawn sizes

Theirs = dict[str, Any]  # image, boxes and masks


@dataclass(frozen=True)
class Photograph:
    """The same photograph for both."""

    ours: Sample
    theirs: Theirs


def cases(workload: Workload) -> Iterator[Case]:
    count = workload.objects[0]
    shorter = SHORTER * workload.photograph[0] // 800
    square = SQUARE * workload.photograph[0] // 800
    for name, prepare in {
        "mirrored": _flip,
        f"resized to {shorter} px": partial(_resize, shorter=shorter),
        f"fitted into {square} x {square} px": partial(_fit, square=square),
        "in other brightness and saturation": _colour,
        "with as many objects pasted": _paste,
    }.items():
        yield Case(f"photograph of {count} objects {name}", partial(prepare, workload), dtype="uint8")


def _photograph(workload: Workload, seed: int = 0) -> Photograph:
    objects = make_objects(workload)
    height, width = workload.photograph
    masks = InstanceMasks.from_coco(objects.polygons, height, width)
    if seed:
        masks = masks.flip(horizontal=True)
    image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator(seed))
    boxes = masks.boxes()
    count = len(boxes)
    sample = Sample(
        image=image,
        image_id=0,
        path=Path("photograph.jpg"),
        boxes=boxes,
        labels=torch.zeros(count, dtype=torch.int64),
        masks=masks,
        iscrowd=torch.zeros(count, dtype=torch.bool),
        areas=masks.areas(),
    )
    theirs = {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
        "masks": tv_tensors.Mask(masks.to_bitmaps()),
    }
    return Photograph(sample, theirs)


def _flip(workload: Workload) -> Contest:
    return _contest(_photograph(workload), HorizontalFlip(1.0), v2.RandomHorizontalFlip(1.0))


def _resize(workload: Workload, shorter: int) -> Contest:
    return _contest(_photograph(workload), MultiScale((shorter,)), v2.Resize(shorter, max_size=1333, antialias=True))


def _fit(workload: Workload, square: int) -> Contest:
    jitter = LargeScaleJitter(square, 1.0, 1.0)
    scale = square / max(workload.photograph)
    height, width = (round(side * scale) for side in workload.photograph)
    fill = {tv_tensors.Image: 128, tv_tensors.Mask: 0}
    theirs = v2.Compose(
        [
            v2.Resize((height, width), antialias=True),
            v2.Pad([0, 0, square - width, square - height], fill=fill),
        ]
    )
    return _contest(_photograph(workload), jitter, theirs)


def _colour(workload: Workload) -> Contest:
    jitter = ColorJitter(brightness=0.3, contrast=0.0, saturation=0.3)
    draws = generator(0)
    brightness, _, saturation = (1 + 0.3 * (2 * float(torch.rand((), generator=draws)) - 1) for _ in range(3))

    def theirs(photograph: Theirs) -> Theirs:
        image = v2.functional.adjust_brightness(photograph["image"], brightness)
        return {**photograph, "image": v2.functional.adjust_saturation(image, saturation)}

    return _contest(_photograph(workload), jitter, theirs, levels=3)  # theirs rounds twice, and clamps in between


def _paste(workload: Workload) -> Contest:
    under, over = _photograph(workload), _photograph(workload, seed=1)

    def theirs(photograph: Theirs) -> Theirs:
        masks, pasted = photograph["masks"], over.theirs["masks"]
        covered = pasted.any(dim=0)
        visible = masks & ~covered
        kept = visible.flatten(1).any(dim=1)
        together = torch.cat([visible[kept], pasted])
        image = torch.where(covered, over.theirs["image"], photograph["image"])
        return {"image": image, "boxes": torchvision.ops.masks_to_boxes(together), "masks": together}

    return Contest(
        "bitmaps in plain torch",
        lambda: theirs(under.theirs),
        lambda: paste(under.ours, over.ours),
        # torchvision's boxes end at the last pixel, ours behind it.
        lambda ours, peer: _agree(ours, {**peer, "boxes": peer["boxes"] + torch.tensor([0.0, 0, 1, 1])}),
    )


def _contest(
    photograph: Photograph, ours: Transform, theirs: Callable[[Theirs], Theirs], *, levels: int = 0
) -> Contest:
    return Contest(
        "torchvision v2",
        lambda: theirs(photograph.theirs),
        lambda: ours(photograph.ours, generator(0)),
        partial(_agree, levels=levels),
    )


def _agree(ours: Sample, theirs: Theirs, levels: int = 0) -> str:
    """The images to so many grey levels, the boxes, and the masks but for a part of a pixel at their outlines.

    Resized bitmaps take the pixel at the corner, scaled polygons those that they cover.
    """
    difference = int((ours.image.int() - _plain(theirs["image"]).int()).abs().max())
    assert difference <= levels, f"images differ by {difference} grey levels"
    torch.testing.assert_close(ours.boxes, _plain(theirs["boxes"]).float(), rtol=1e-4, atol=1e-3)
    bitmaps, expected = ours.masks.to_bitmaps(), _plain(theirs["masks"]).bool()
    overlap = float((bitmaps & expected).sum() / (bitmaps | expected).sum())
    assert overlap >= LEAST_IOU, f"masks differ: IoU {overlap:.3f}"
    images = f"within {levels} levels" if levels else "identical"
    return f"images {images}, masks of IoU >= {LEAST_IOU}"


def _plain(values: Tensor) -> Tensor:
    return values.as_subclass(Tensor)
