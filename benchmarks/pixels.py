"""How many feature-map pixels the regions of a pooling operator touch: what it must read at least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Axis = NDArray[np.int64]  # the rows, or the columns, that one region touches


@dataclass(frozen=True)
class Touched:
    distinct: int  # pixels, each counted once per region
    union: int  # pixels, each counted once


def sampled_pixels(
    boxes: Tensor, scale: float, bins: int, sampling: int, aligned: bool, size: tuple[int, int]
) -> Touched:
    """Of RoIAlign with `bins` x `bins` over one map of `size`: a region's taps are a product of rows and columns."""
    areas = []
    for x1, y1, x2, y2 in boxes.double().cpu().numpy() * scale - (0.5 if aligned else 0.0):
        rows = _sampled_axis(y1, y2 - y1, bins, sampling, aligned, size[0])
        areas.append((rows, _sampled_axis(x1, x2 - x1, bins, sampling, aligned, size[1])))
    return _count(areas, size)


def quantised_pixels(boxes: Tensor, scale: float, size: tuple[int, int]) -> Touched:
    """Of RoIPool: all pixels of the rounded region, both ends included."""
    areas = []
    for x1, y1, x2, y2 in np.floor(boxes.double().cpu().numpy() * scale + 0.5).astype(np.int64):
        rows = np.arange(max(y1, 0), min(max(y2, y1) + 1, size[0]))
        areas.append((rows, np.arange(max(x1, 0), min(max(x2, x1) + 1, size[1]))))
    return _count(areas, size)


def _sampled_axis(start: float, length: float, bins: int, sampling: int, aligned: bool, size: int) -> Axis:
    if not aligned:
        length = max(length, 1.0)
    count = bins * (sampling if sampling > 0 else int(np.ceil(max(length, 0.0) / bins)))
    if count == 0:
        return np.zeros(0, np.int64)
    points = start + (np.arange(count) + 0.5) * length / count
    inside = points[(points >= -1) & (points <= size)]
    low = np.floor(inside.clip(0, size - 1)).astype(np.int64)
    return np.unique(np.concatenate([low, np.minimum(low + 1, size - 1)]))


def _count(areas: list[tuple[Axis, Axis]], size: tuple[int, int]) -> Touched:
    touched = np.zeros(size, bool)
    for rows, columns in areas:
        touched[np.ix_(rows, columns)] = True
    return Touched(sum(len(rows) * len(columns) for rows, columns in areas), int(touched.sum()))
