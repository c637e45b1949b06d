"""COCO's segmentations as JSON has them, and bitmaps: anybody may have written them, so all is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastmrcnn.ops._library import native
from fastmrcnn.ops._runs import without_pairs

__all__ = ["read_bitmap", "read_polygon", "read_runs"]


def read_polygon(polygon: Sequence[float]) -> NDArray[np.float64]:
    """The points `[V, 2]` of `[x0, y0, x1, y1, ...]`."""
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim != 1 or points.size < 6 or points.size % 2:
        raise ValueError(f"expected a polygon of at least 3 points (x, y); got {points.size} numbers")
    if not np.isfinite(points).all():
        raise ValueError("expected polygon coordinates to be finite")
    return points.reshape(-1, 2)


def read_runs(rle: dict[str, Any], height: int, width: int) -> NDArray[np.int64]:
    """The transitions of a run-length encoding."""
    size, counts = rle.get("size"), rle.get("counts")
    if size is None or list(size) != [height, width]:
        raise ValueError(f"expected an RLE of size [{height}, {width}] (height, width); got {size}")
    if isinstance(counts, list):
        return _sum_counts(counts, height * width)
    if not isinstance(counts, str | bytes):
        raise ValueError(f"expected RLE counts as a string or a list; got {type(counts).__name__}")
    encoded = counts.encode("utf-8") if isinstance(counts, str) else counts
    characters = np.frombuffer(encoded, dtype=np.uint8).copy()
    transitions, bounds = np.empty(len(characters), dtype=np.int64), np.empty(2, dtype=np.int64)
    starts = np.array([0, len(characters)])
    native.parse_rle((1, 0), characters, starts, height * width, transitions, bounds)
    return transitions[: bounds[1]]


def read_bitmap(bitmap: Tensor | NDArray[Any], height: int, width: int) -> NDArray[np.int64]:
    """The transitions of a bitmap."""
    pixels = bitmap.numpy(force=True) if isinstance(bitmap, Tensor) else np.asarray(bitmap)
    if pixels.shape != (height, width):
        raise ValueError(f"InstanceMasks: expected bitmaps [{height}, {width}]; got {list(pixels.shape)}")
    return np.flatnonzero(np.diff((pixels != 0).ravel(order="F"), prepend=False))


def _sum_counts(counts: list[int], pixels: int) -> NDArray[np.int64]:
    runs = np.asarray(counts)
    if runs.dtype.kind not in "iu" or (runs < 0).any():
        raise ValueError("expected RLE counts to be non-negative integers")
    total = sum(counts)  # of any size, where int64 could wrap
    if total != pixels:
        raise ValueError(f"expected RLE counts of {pixels} pixels in all; got {total}")
    positions = without_pairs(np.cumsum(runs, dtype=np.int64)[:-1])
    return positions[positions < pixels]
