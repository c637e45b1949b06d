"""Areas, boxes and centroids of masks `[height, width]`, from the runs of their columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.ops._runs import ColumnRuns, Integers

__all__ = ["measure_areas", "measure_boxes", "measure_centroids"]


def measure_areas(runs: ColumnRuns, masks: int, width: int) -> NDArray[np.float64]:
    """Pixels, `[masks]`."""
    return _sum_by(runs.column // max(width, 1), runs.end - runs.begin, masks)


def measure_boxes(runs: ColumnRuns, masks: int, width: int) -> NDArray[np.float32]:
    """x1, y1, x2, y2, the last two exclusive; zeros for an empty mask. `[masks, 4]`."""
    boxes = np.zeros((masks, 4), dtype=np.float32)
    owner, column = np.divmod(runs.column, max(width, 1))
    filled, first = np.unique(owner, return_index=True)
    if filled.size:
        boxes[filled, 0] = np.minimum.reduceat(column, first)
        boxes[filled, 1] = np.minimum.reduceat(runs.begin, first)
        boxes[filled, 2] = np.maximum.reduceat(column, first) + 1
        boxes[filled, 3] = np.maximum.reduceat(runs.end, first)
    return boxes


def measure_centroids(runs: ColumnRuns, masks: int, width: int) -> NDArray[np.float64]:
    """x, y; NaN for an empty mask. `[masks, 2]`."""
    owner, column = np.divmod(runs.column, max(width, 1))
    pixels = runs.end - runs.begin
    x = _sum_by(owner, pixels * (column + 0.5), masks)
    y = _sum_by(owner, pixels * (runs.begin + runs.end) / 2, masks)
    areas = _sum_by(owner, pixels, masks)
    areas[areas == 0] = np.nan
    return np.stack([x, y], axis=1) / areas[:, None]


def _sum_by(owner: Integers, values: NDArray[Any], count: int) -> NDArray[np.float64]:
    """The sums of the values that each of ``count`` owners has."""
    sums = np.bincount(owner, weights=values, minlength=count)
    return sums.astype(np.float64)  # which they are, but for no values at all
