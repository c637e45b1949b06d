"""The objects of one image: their masks, drawn, against their boxes and areas, the image and each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastmrcnn.data.annotations import ImageRecord, ObjectRecord
from fastmrcnn.doctor.problem import (
    AREA_OFF_MASK,
    BOX_OFF_MASK,
    BOX_OUT_OF_IMAGE,
    CROSSING_POLYGON,
    CROWD_POLYGON,
    DUPLICATE_OBJECT,
    EMPTY_MASK,
    KEPT,
    LEFT_OUT,
    MEASURED_BOX,
    OUTLINE_OUT_OF_IMAGE,
    Box,
    Findings,
)
from fastmrcnn.ops import InstanceMasks

SLACK = 1.0  # pixels that a box or an outline may reach beyond the image: annotation tools round
_SAME_BOX = 0.5  # IoU, with a pixel around both boxes, from which they are the same
_SAME_AREA = 1.5  # factor
_CROSSING = 0.5  # share of its pixels that an outline encloses once, below which it crosses itself


@dataclass(frozen=True)
class Measured:
    """The sound objects of an image, with what their masks measure."""

    objects: list[ObjectRecord]
    boxes: NDArray[np.float32]  # [N, 4] x1, y1, x2, y2 in pixels, of the masks
    areas: NDArray[np.float32]  # [N] pixels


def examine_objects(image: ImageRecord, objects: Sequence[ObjectRecord], findings: Findings, file: str) -> Measured:
    """Draw and check all objects of an image; no mask is empty in what is returned, and every box is that of a mask.

    A mask of one pixel is as good as any other.
    """
    masks = InstanceMasks.from_coco([item.segmentation for item in objects], image.height, image.width).to_runs()
    boxes, areas = masks.boxes().numpy(), masks.areas().numpy()
    kept: list[int] = []
    sound: list[ObjectRecord] = []
    seen: dict[Any, list[int]] = {}
    for number, item in enumerate(objects):
        where: dict[str, Any] = {"file": file, "image": image.file_name, "annotation": item.id}
        if areas[number] == 0:
            outside = "; its outline lies off the image" if reach_beyond(item, image) > SLACK else ""
            text = f"the mask has no pixel{outside}"
            findings.add(EMPTY_MASK, text, **where, box=_corners(item), repair=LEFT_OUT)
            continue
        box: Box = tuple(boxes[number].tolist())
        twin = _twin(item, (item.category_id, item.iscrowd, box, float(areas[number])), number, seen, masks)
        if twin is not None:
            text = f"the object is annotated twice: annotation {objects[twin].id} is the same"
            findings.add(DUPLICATE_OBJECT, text, **where, box=box, repair=LEFT_OUT)
            continue
        item = _check_box(item, box, image, findings, where)
        item = _check_area(item, float(areas[number]), findings, where | {"box": box})
        item = _check_outline(item, float(areas[number]), image, findings, where | {"box": box}, masks, number)
        kept.append(number)
        sound.append(item)
    return Measured(sound, boxes[kept], areas[kept])


def _twin(item: ObjectRecord, key: Any, number: int, seen: dict[Any, list[int]], masks: InstanceMasks) -> int | None:
    """The earlier object of the same class with the same pixels."""
    runs, bounds = masks.transitions, masks.object_transitions
    own = runs[bounds[number] : bounds[number + 1]]
    for other in seen.setdefault(key, []):
        if torch.equal(own, runs[bounds[other] : bounds[other + 1]]):
            return other
    seen[key].append(number)
    return None


def _check_box(
    item: ObjectRecord, measured: Box, image: ImageRecord, findings: Findings, where: dict[str, Any]
) -> ObjectRecord:
    """The box that is given against that of the mask, and against the image."""
    given = _corners(item)
    if given is None or item.bbox is None:
        return item
    off_mask = _overlap(given, measured) < _SAME_BOX
    as_corners = off_mask and _overlap(item.bbox, measured) >= _SAME_BOX
    if max(-given[0], -given[1], given[2] - image.width, given[3] - image.height) > SLACK and not as_corners:
        size = f"{image.width} x {image.height} pixels"
        text = f"bbox {_plain(item.bbox)} (x, y, width, height) reaches beyond the {size} of the image"
        findings.add(BOX_OUT_OF_IMAGE, text, **where, box=given, repair=MEASURED_BOX)
        return replace(item, bbox=None)
    if off_mask:
        hint = "; its numbers fit as x1, y1, x2, y2" if as_corners else ""
        expected = f"that of the mask, {_plain(_sides(measured))}"
        text = f"bbox {_plain(item.bbox)} (x, y, width, height) is not {expected}{hint}"
        findings.add(BOX_OFF_MASK, text, **where, box=given, repair=MEASURED_BOX)
        return replace(item, bbox=None)
    return item


def _check_area(item: ObjectRecord, measured: float, findings: Findings, where: dict[str, Any]) -> ObjectRecord:
    # Annotation tools measure the outline, which is no whole number of pixels; small areas differ by much.
    slack = _SAME_AREA * measured + 16
    if item.area is None or (item.area <= slack and measured <= _SAME_AREA * item.area + 16):
        return item
    text = f"area {item.area:g} is not that of the mask, {measured:g} pixels"
    findings.add(AREA_OFF_MASK, text, **where, repair="area measured on the mask")
    return replace(item, area=None)


def _check_outline(
    item: ObjectRecord,
    area: float,
    image: ImageRecord,
    findings: Findings,
    where: dict[str, Any],
    masks: InstanceMasks,
    number: int,
) -> ObjectRecord:
    if not isinstance(item.segmentation, list):
        return item
    if item.iscrowd:
        text = "iscrowd is 1 and the mask a polygon; a crowd is a region of many objects, which nothing is learnt from"
        findings.add(CROWD_POLYGON, text, **where, repair=KEPT)
    reach = reach_beyond(item, image)
    if reach > SLACK:
        text = f"the outline reaches {reach:.0f} pixels beyond the {image.width} x {image.height} pixels of the image"
        repair = "cut off at the border, as run lengths of the same pixels"
        findings.add(OUTLINE_OUT_OF_IMAGE, text, **where, repair=repair)
        return replace(item, segmentation=masks[number : number + 1].to_rle()[0])
    enclosed = sum(abs(_signed_area(polygon)) for polygon in item.segmentation)
    if area > 16 and enclosed < _CROSSING * area:
        text = f"the outline crosses itself: it covers {area:g} pixels and encloses {enclosed:.0f}"
        findings.add(CROSSING_POLYGON, text, **where, repair=KEPT)
    return item


def _signed_area(polygon: list[float]) -> float:
    """Of the region inside, in pixels; parts that are run around the other way count below zero."""
    x, y = polygon[0::2], polygon[1::2]
    return sum(a * d - b * c for a, b, c, d in zip(x, y, x[1:] + x[:1], y[1:] + y[:1], strict=True)) / 2


def reach_beyond(item: ObjectRecord, image: ImageRecord) -> float:
    """How far the outline reaches beyond the image, px; at most 0 where it lies inside."""
    if not isinstance(item.segmentation, list):
        return 0.0
    x: list[float] = [value for polygon in item.segmentation for value in polygon[0::2]]
    y: list[float] = [value for polygon in item.segmentation for value in polygon[1::2]]
    return max(-min(x), -min(y), max(x) - image.width, max(y) - image.height)


def _overlap(first: Box, second: Box) -> float:
    """IoU of two boxes x1, y1, x2, y2, each with a pixel around it: small ones are not told apart by rounding.

    Plain numbers: a data set has a million boxes, and tensors of one box would take a minute.
    """
    width = max(min(first[2], second[2]) - max(first[0], second[0]) + 2, 0.0)
    height = max(min(first[3], second[3]) - max(first[1], second[1]) + 2, 0.0)
    areas = [max(box[2] - box[0] + 2, 0.0) * max(box[3] - box[1] + 2, 0.0) for box in (first, second)]
    return width * height / max(sum(areas) - width * height, 1e-9)


def _corners(item: ObjectRecord) -> Box | None:
    if item.bbox is None:
        return None
    x, y, width, height = item.bbox
    return x, y, x + width, y + height


def _sides(box: Box) -> Box:
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def _plain(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
