"""Segmentations that are malformed: what can be saved of them without guessing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fastmrcnn.data.annotations import ImageRecord
from fastmrcnn.data.masks import Segmentation, check_segmentation
from fastmrcnn.data.readers.shapes import rectangle
from fastmrcnn.data.readers.values import is_number
from fastmrcnn.doctor.problem import INVALID_POLYGON, INVALID_RLE, LEFT_OUT, MISSING_SEGMENTATION, Kind


@dataclass(frozen=True)
class Mended:
    """A segmentation that is sound now, or None where nothing could be saved; and what was wrong."""

    segmentation: Segmentation | None
    kind: Kind
    text: str
    repair: str


def mend_segmentation(segmentation: Any, image: ImageRecord) -> Mended | None:
    """None where the segmentation is sound already."""
    if segmentation is None or segmentation == []:
        return Mended(None, MISSING_SEGMENTATION, f"expected a segmentation; got {segmentation!r}", LEFT_OUT)
    problem = _problem(segmentation, image)
    if problem is None:
        return None
    is_rle = isinstance(segmentation, dict)
    kind = INVALID_RLE if is_rle else INVALID_POLYGON
    mended, repair = _pad_counts(segmentation, image) if is_rle else _sound_polygons(segmentation, image)
    if mended is None or _problem(mended, image) is not None:
        return Mended(None, kind, problem, LEFT_OUT)
    return Mended(mended, kind, problem, repair)


def in_fractions(segmentation: Any) -> bool:
    """Whether all coordinates of polygons lie in 0..1: fractions of the image's sides, or an object in its corner."""
    if not isinstance(segmentation, list) or not segmentation:
        return False
    return all(
        isinstance(polygon, list) and polygon and all(is_number(value) and 0 <= value <= 1 for value in polygon)
        for polygon in segmentation
    )


def scaled(polygons: list[list[float]], image: ImageRecord) -> list[list[float]]:
    """Polygons in fractions of the image's sides, in pixels."""
    sides = (image.width, image.height)
    return [[value * sides[place % 2] for place, value in enumerate(polygon)] for polygon in polygons]


def _problem(segmentation: Any, image: ImageRecord) -> str | None:
    try:
        check_segmentation(segmentation, image.height, image.width)
    except ValueError as error:
        return str(error)
    return None


def _sound_polygons(segmentation: Any, image: ImageRecord) -> tuple[list[Any] | None, str]:
    """The polygons that are sound; of a bare list of numbers the one polygon that it must be."""
    if not isinstance(segmentation, list):
        return None, LEFT_OUT
    if all(is_number(value) for value in segmentation):
        return [segmentation], "put into a list, as the one polygon of the object"
    drawn = [_pixel(polygon) or polygon for polygon in segmentation]
    sound = [polygon for polygon in drawn if _problem([polygon], image) is None]
    points = sum(polygon is not own for polygon, own in zip(drawn, segmentation, strict=True))
    count = len(segmentation) - len(sound)
    parts = [f"{points} of {len(segmentation)} polygons taken for the pixel at their one point"] if points else []
    parts += [f"{count} of {len(segmentation)} polygons left out"] if count else []
    return (sound or None), ", ".join(parts)


def _pixel(polygon: Any) -> list[float] | None:
    """The pixel at the one point that tracing the contour of a mask of one pixel gives."""
    if not isinstance(polygon, list) or len(polygon) != 2 or not all(map(is_number, polygon)):
        return None
    x, y = map(math.floor, polygon)
    return rectangle(x, y, x + 1, y + 1)


def _pad_counts(segmentation: dict[str, Any], image: ImageRecord) -> tuple[dict[str, Any] | None, str]:
    """Counts that leave out the background after the last object pixel: it can be nothing else."""
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if size != [image.height, image.width] or not isinstance(counts, list):
        return None, LEFT_OUT
    if not counts or not all(type(run) is int and run >= 0 for run in counts):
        return None, LEFT_OUT
    missing = image.height * image.width - sum(counts)
    if missing <= 0:
        return None, LEFT_OUT
    padded = [*counts, missing] if len(counts) % 2 == 0 else [*counts[:-1], counts[-1] + missing]
    return {"size": size, "counts": padded}, f"the last {missing} pixels taken for background"
