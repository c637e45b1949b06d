"""Run lengths of many masks at once, in numpy: splitting them at columns, and moving their pixels about.

Masks of one size are given by their transitions: the positions, counted down the columns, at which each changes between
0 and 1, with offsets that say which belong to which mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColumnRuns", "gather_pixels", "split_columns", "without_pairs"]

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ColumnRuns:
    """Runs of ones that end with their column at the latest, in order."""

    column: Integers
    """Of all masks side by side: mask g has the columns g * width up to (g + 1) * width."""
    begin: Integers
    end: Integers
    """Rows."""


def split_columns(transitions: Integers, offsets: Integers, height: int, width: int) -> ColumnRuns:
    """The runs of masks `[height, width]`, column by column."""
    pixels, counts = height * width, np.diff(offsets)
    positions = transitions + np.repeat(np.arange(len(counts)) * pixels, counts)
    # A mask that ends in ones lacks its last transition.
    unfinished = np.flatnonzero(counts % 2)
    positions = np.insert(positions, offsets[1:][unfinished], (unfinished + 1) * pixels)
    begins, ends = positions[0::2], positions[1::2]
    if begins.size == 0:
        return ColumnRuns(begins, begins, ends)
    first = begins // height
    column = _ranges(first, (ends - 1) // height + 1 - first)
    run = np.repeat(np.arange(begins.size), (ends - 1) // height + 1 - first)
    top = column * height
    return ColumnRuns(column, np.maximum(begins[run], top) - top, np.minimum(ends[run], top + height) - top)


def gather_pixels(
    transitions: Integers, offsets: Integers, size: tuple[int, int], rows: Integers, columns: Integers
) -> tuple[Integers, Integers]:
    """Masks whose pixel (r, c) is pixel (rows[r], columns[c]) of the given ones: flips, crops, nearest resizing.

    Args:
        transitions, offsets: masks of a size (height, width).
        size: of them.
        rows: of the results, in ascending or descending order.
        columns: of the results, in any order.

    Returns:
        The transitions and offsets of the results, `[len(rows), len(columns)]` pixels each.
    """
    runs = split_columns(transitions, offsets, *size)
    masks, height, width = len(offsets) - 1, len(rows), len(columns)
    if len(rows) > 1 and rows[0] > rows[-1]:
        begin, end = (height - np.searchsorted(rows[::-1], edge) for edge in (runs.end, runs.begin))
    else:
        begin, end = (np.searchsorted(rows, edge) for edge in (runs.begin, runs.end))
    source = (np.arange(masks)[:, None] * size[1] + columns).ravel()  # [masks * width]
    first, last = (np.searchsorted(runs.column, source, side) for side in ("left", "right"))
    taken = _ranges(first, last - first)
    target = np.repeat(np.arange(masks * width), last - first)
    # One position more for each mask, lest the end of one meet the beginning of the next.
    stride = height * width + 1
    top = target * height + target // max(width, 1)
    positions = without_pairs(np.sort(np.concatenate([top + begin[taken], top + end[taken]])))
    mask, position = np.divmod(positions, stride)
    inner = position < height * width
    counts = np.bincount(mask[inner], minlength=masks)
    return position[inner], np.concatenate([[0], np.cumsum(counts)])


def without_pairs(positions: Integers) -> Integers:
    """Ascending positions, of which two that are equal cancel."""
    values, counts = np.unique(positions, return_counts=True)
    kept: Integers = values[counts % 2 == 1]
    return kept


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """starts[0], starts[0] + 1, ..., `lengths[0]` of them, then the same from starts[1]."""
    shifts = starts - (np.cumsum(lengths) - lengths)
    return np.repeat(shifts, lengths) + np.arange(lengths.sum())
