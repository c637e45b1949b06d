"""Run lengths of many masks at once, in numpy: splitting them at columns, and moving their pixels about.

Masks of one size are given by their transitions: the positions, counted down the columns, at which each changes between
0 and 1, with offsets that say which belong to which mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ColumnRuns",
    "bounded_slices",
    "gather_pixels",
    "in_a_row",
    "intersections",
    "place_pixels",
    "ranges",
    "split_columns",
    "subtract",
    "unite",
    "without_pairs",
]

Integers = NDArray[np.int64]

_RUNS_AT_ONCE = 2**22  # so that memory does not grow with their number


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
    column = ranges(first, (ends - 1) // height + 1 - first)
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
        columns: of the results, in any order. Pixels of rows and columns that the given masks do not have are 0.

    Returns:
        The transitions and offsets of the results, `[len(rows), len(columns)]` pixels each.
    """
    runs = split_columns(transitions, offsets, *size)
    masks, height, width = len(offsets) - 1, len(rows), len(columns)
    if len(rows) > 1 and rows[0] > rows[-1]:
        begin, end = (height - np.searchsorted(rows[::-1], edge) for edge in (runs.end, runs.begin))
    else:
        begin, end = (np.searchsorted(rows, edge) for edge in (runs.begin, runs.end))
    inside = (columns >= 0) & (columns < size[1])
    source = np.where(inside, np.arange(masks)[:, None] * size[1] + columns, -1).ravel()  # [masks * width]
    first, last = (np.searchsorted(runs.column, source, side) for side in ("left", "right"))
    taken = ranges(first, last - first)
    target = np.repeat(np.arange(masks * width), last - first)
    # One position more for each mask, lest the end of one meet the beginning of the next.
    stride = height * width + 1
    top = target * height + target // max(width, 1)
    positions = without_pairs(np.sort(np.concatenate([top + begin[taken], top + end[taken]])))
    return _apart(positions, masks, stride)


def place_pixels(
    transitions: Integers, offsets: Integers, size: tuple[int, int], corner: tuple[int, int], larger: tuple[int, int]
) -> tuple[Integers, Integers]:
    """Masks of a size (height, width) at a corner (top, left) of an image of a larger size, which is 0 elsewhere.

    Takes time in proportion to the runs, however large the image is.
    """
    runs = split_columns(transitions, offsets, *size)
    mask, column = np.divmod(runs.column, max(size[1], 1))
    stride = larger[0] * larger[1] + 1  # as above, lest the end of one meet the beginning of the next
    top = mask * stride + (column + corner[1]) * larger[0] + corner[0]
    positions = without_pairs(np.stack([top + runs.begin, top + runs.end], axis=1).ravel())
    return _apart(positions, len(offsets) - 1, stride)


def without_pairs(positions: Integers) -> Integers:
    """Ascending positions, of which two that are equal cancel."""
    values, counts = np.unique(positions, return_counts=True)
    kept: Integers = values[counts % 2 == 1]
    return kept


def unite(
    transitions: Integers, offsets: Integers, groups: Integers, count: int, pixels: int
) -> tuple[Integers, Integers]:
    """The unions of masks of that many pixels each; mask g goes into union ``groups[g]``, of ``count``."""
    stride = pixels + 1  # as above, lest the end of one meet the beginning of the next
    mask, position = np.divmod(in_a_row(transitions, offsets, pixels), stride)
    positions = groups[mask] * stride + position
    edges, place = np.unique(positions, return_inverse=True)
    steps = np.where(np.arange(positions.size) % 2 == 0, 1, -1)
    covering = np.cumsum(np.bincount(place, weights=steps, minlength=edges.size))  # masks, from each edge on
    return _apart(edges[np.diff(covering > 0, prepend=False)], count, stride)


def subtract(transitions: Integers, offsets: Integers, removed: Integers, pixels: int) -> tuple[Integers, Integers]:
    """Masks without the pixels of one other, whose transitions are ``removed``: transitions and offsets."""
    masks, stride = len(offsets) - 1, pixels + 1  # as above, lest the end of one meet the beginning of the next
    kept = in_a_row(transitions, offsets, pixels)
    holes = _holes_near(kept, in_a_row(removed, np.array([0, removed.size]), pixels), masks, stride)
    edges = np.sort(np.concatenate([kept, holes]), kind="stable")  # which merges what is sorted already
    edges = edges[np.diff(edges, prepend=-1) > 0]
    filled, hole = (np.searchsorted(positions, edges, "right") % 2 == 1 for positions in (kept, holes))
    positions = edges[np.diff(filled & ~hole, prepend=False)]
    return _apart(positions, masks, stride)


def _apart(positions: Integers, masks: int, stride: int) -> tuple[Integers, Integers]:
    """The inverse of `in_a_row`: the transitions of each mask without its end, and their offsets."""
    mask, position = np.divmod(positions, stride)
    inner = position < stride - 1
    counts = np.bincount(mask[inner], minlength=masks)
    return position[inner], np.concatenate([[0], np.cumsum(counts)])


def intersections(transitions: Integers, offsets: Integers, first: Integers, second: Integers, pixels: int) -> Integers:
    """Pixels that mask first[p] and mask second[p] share, for each pair p; masks of that many pixels each.

    Takes time in proportion to the runs of the simpler mask of each pair.
    """
    stride = pixels + 1
    row = in_a_row(transitions, offsets, pixels)
    begins, ends = row[0::2], row[1::2]
    bounds = np.searchsorted(begins, np.arange(len(offsets)) * stride)  # the runs of each mask
    ones = np.concatenate([[0], np.cumsum(ends - begins)])

    def ones_before(positions: Integers) -> Integers:
        run = np.searchsorted(begins, positions, "right")
        last = np.maximum(run - 1, 0)
        inside = np.minimum(positions, ends[last]) - begins[last] if begins.size else positions
        before: Integers = np.where(run > 0, ones[last] + inside, 0)
        return before

    runs = np.diff(bounds)
    swapped = runs[first] > runs[second]
    simple, other = np.where(swapped, second, first), np.where(swapped, first, second)
    taken, lengths = ranges(bounds[simple], runs[simple]), runs[simple]
    shift = np.repeat((other - simple) * stride, lengths)
    shared = ones_before(ends[taken] + shift) - ones_before(begins[taken] + shift)
    total = np.concatenate([[0], np.cumsum(shared)])
    end = np.cumsum(lengths)
    result: Integers = total[end] - total[end - lengths]
    return result


def _holes_near(kept: Integers, removed: Integers, masks: int, stride: int) -> Integers:
    """For each mask in a row those whole runs of ``removed`` that lie between its first pixel and its last one."""
    bounds = np.searchsorted(kept, np.arange(masks + 1) * stride)
    filled = np.flatnonzero(np.diff(bounds))
    first, last = (kept[place] - filled * stride for place in (bounds[filled], bounds[filled + 1] - 1))
    begin = np.searchsorted(removed, first, "right") // 2 * 2
    end = (np.searchsorted(removed, last) + 1) // 2 * 2
    return removed[ranges(begin, end - begin)] + np.repeat(filled * stride, end - begin)


def in_a_row(transitions: Integers, offsets: Integers, pixels: int) -> Integers:
    """The transitions of all masks as those of one, in which each has one pixel of zero behind it."""
    counts, stride = np.diff(offsets), pixels + 1
    positions = transitions + np.repeat(np.arange(counts.size) * stride, counts)
    unfinished = np.flatnonzero(counts % 2)
    return np.insert(positions, offsets[1:][unfinished], unfinished * stride + pixels)


def bounded_slices(runs: Integers) -> list[slice]:
    """Slices of tasks that take so many runs each: a bounded number together, or one task."""
    if runs.size == 0:
        return []
    part = np.cumsum(runs) // _RUNS_AT_ONCE
    starts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), runs.size]
    return [slice(begin, end) for begin, end in pairwise(starts)]


def ranges(starts: Integers, lengths: Integers) -> Integers:
    """starts[0], starts[0] + 1, ..., `lengths[0]` of them, then the same from starts[1]."""
    shifts = starts - (np.cumsum(lengths) - lengths)
    return np.repeat(shifts, lengths) + np.arange(lengths.sum())
