"""The outlines of instances, for the outputs that consist of polygons."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.structures import Detections

# Rings [V, 2], x and y in px: the exterior of a connected part of an instance, then its holes.
Part: TypeAlias = "list[NDArray[Any]]"


def outlines(found: Detections, tolerance: float) -> list[list[Part]]:
    """The parts of each instance: those of its mask, which may be none; its box where the model finds boxes alone."""
    if found.has_masks:
        return [[polygon.rings for polygon in polygons] for polygons in found.polygons(tolerance)]
    boxes = found.boxes.detach().double().cpu().numpy()
    return [[[box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)]] if np.isfinite(box).all() else [] for box in boxes]
