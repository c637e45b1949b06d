"""Outlines of all kinds as polygons in COCO's form: x0, y0, x1, y1, ..."""

from __future__ import annotations

import math
from typing import Any

from fastmrcnn.data.annotations import ImageRecord
from fastmrcnn.data.masks import check_segmentation
from fastmrcnn.data.mistakes import InvalidSegmentation

_GAP = 0.05  # pixels between a curve and its polygon: a quarter of what COCO's rasteriser tells apart
_LARGEST = 1e5  # pixels: a polygon may reach no farther


def rectangle(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    """The rectangle between two opposite corners.

    >>> rectangle(1, 2, 4, 3)
    [1, 2, 4, 2, 4, 3, 1, 3]
    """
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def ellipse(x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0) -> list[float]:
    """An ellipse about (x, y), its first axis turned by ``angle``, in radians from x towards y.

    >>> [round(value, 6) for value in ellipse(5, 5, 2, 1, math.pi / 2)[:2]]
    [5.0, 7.0]
    """
    largest = min(max(abs(radius_x), abs(radius_y), 2 * _GAP), _LARGEST)
    points = max(12, math.ceil(math.pi / math.acos(1 - _GAP / largest)))
    turns = [2 * math.pi * number / points for number in range(points)]
    along = [(radius_x * math.cos(turn), radius_y * math.sin(turn)) for turn in turns]
    cos, sin = math.cos(angle), math.sin(angle)
    return [value for a, b in along for value in (x + a * cos - b * sin, y + a * sin + b * cos)]


def checked_outline(where: str, outline: list[Any], image: ImageRecord) -> list[list[float]]:
    """An outline as COCO's segmentation; ``where`` begins the message of one that is no polygon."""
    try:
        check_segmentation([outline], image.height, image.width)
    except ValueError as error:
        raise InvalidSegmentation(f"{where}: {error}") from None
    return [outline]
