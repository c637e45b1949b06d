"""Areas, boxes and centroids of masks `[height, width]`, from the runs of their columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.ops._runs import ColumnRuns, Integers, bounded_slices, in_a_row, split_columns

__all__ = ["measure_areas", "measure_boxes", "measure_centroids", "measure_columns"]


def measure_areas(transitions: Integers, offsets: Integers, pixels: int) -> NDArray[np.float64]:
    """Pixels of masks, of images of so many: `[masks]`."""
    row = in_a_row(transitions, offsets, pixels)
    return _sum_by(row[0::2] // (pixels + 1), row[1::2] - row[0::2], len(offsets) - 1)


def measure_columns(
    measure: Callable[[ColumnRuns, int, int], NDArray[Any]],
    transitions: Integers,
    offsets: Integers,
    size: tuple[int, int],
) -> NDArray[Any]:
    """What `measure` finds of masks of a size (height, width), of some at a time: columns take several times the
    memory of the masks."""
    found = []
    for part in bounded_slices(np.diff(offsets)) or [slice(0, 0)]:
        own = offsets[part.start : part.stop + 1]
        runs = split_columns(transitions[own[0] : own[-1]], own - own[0], *size)
        found.append(measure(runs, part.stop - part.start, size[1]))
    return np.concatenate(found)


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
