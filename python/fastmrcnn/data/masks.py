"""COCO segmentations (polygons, compressed and uncompressed run-length encodings) and bitmaps.

Conventions, all COCO's: a polygon is a flat list x0, y0, x1, y1, ... of continuous pixel coordinates in which pixel
``i`` covers ``i`` to ``i + 1``; a run-length encoding counts down the columns and begins with zeros; its compressed
form is a string (see pycocotools' ``maskApi.c`` for the format).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from fastmrcnn.ops import RLE

Segmentation = Any
"""A list of polygons, or ``{"size": [height, width], "counts": str | list[int]}``, as read from JSON."""

_LARGEST_COORDINATE = 1e5  # pixels: the rasteriser's time and memory grow with an edge's length


def check_segmentation(segmentation: Segmentation, height: int, width: int) -> None:
    """Raise ``ValueError`` saying what is wrong with a segmentation of an image of this size; nothing is drawn."""
    if isinstance(segmentation, list):
        _check_polygons(segmentation)
    elif isinstance(segmentation, dict):
        _check_run_lengths(segmentation, height, width)
    else:
        raise ValueError(f"expected a list of polygons or an RLE object; got {type(segmentation).__name__}")


def segmentation_to_rle(segmentation: Segmentation, height: int, width: int) -> RLE:
    """A segmentation as compressed run-length encoding ``{"size": [height, width], "counts": str}``.

    Several polygons become one region (their union). Parts outside the image are cut off.

    Raises:
        ValueError: the segmentation is malformed or of another size.

    Example:
        >>> segmentation_to_rle([[0, 0, 2, 0, 2, 3, 0, 3]], 4, 4)
        {'size': [4, 4], 'counts': '03108'}
    """
    check_segmentation(segmentation, height, width)
    if isinstance(segmentation, list):
        encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        encoded = coco_mask.frPyObjects({"size": [height, width], "counts": segmentation["counts"]}, height, width)
    else:
        encoded = segmentation
    return _with_text(encoded)


def encode_rle(mask: NDArray[np.bool_]) -> RLE:
    """A bitmap [H, W] as compressed run-length encoding ``{"size": [H, W], "counts": str}``.

    Example:
        >>> encode_rle(np.array([[False, False], [True, False]]))
        {'size': [2, 2], 'counts': '112'}
    """
    return _with_text(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)))


def measure_rle(rle: RLE) -> tuple[list[float], float]:
    """The tight box [x, y, width, height] and the area of a mask, both in pixels; zeros for an empty mask.

    Example:
        >>> measure_rle({"size": [2, 2], "counts": "112"})
        ([0.0, 1.0, 1.0, 1.0], 1.0)
    """
    return coco_mask.toBbox(rle).tolist(), float(coco_mask.area(rle))


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """A bitmap [H, W] as uncompressed run lengths: down the columns, zeros first.

    Example:
        >>> run_lengths(np.array([[False, False], [True, False]]))
        [1, 1, 2]
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def _check_polygons(polygons: list[Any]) -> None:
    if not polygons:
        raise ValueError("expected at least one polygon; got an empty list")
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise ValueError(f"expected polygons as lists of numbers; got {type(polygon).__name__}")
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"expected a polygon of at least 3 points (x, y); got {len(polygon)} numbers")
        try:
            # The sum is NaN when any number is; written so that NaN fails.
            bounded = max(polygon) <= _LARGEST_COORDINATE and min(polygon) >= -_LARGEST_COORDINATE
            valid = bounded and sum(polygon) == sum(polygon)
        except TypeError:
            valid = False
        if not valid:
            limit = f"{_LARGEST_COORDINATE:g}"
            raise ValueError(f"expected polygon coordinates to be numbers between -{limit} and {limit}")


def _check_run_lengths(rle: dict[str, Any], height: int, width: int) -> None:
    size, counts = rle.get("size"), rle.get("counts")
    if size != [height, width]:
        raise ValueError(f"expected an RLE of size [{height}, {width}] (height, width); got {size}")
    if isinstance(counts, list):
        if not all(type(run) is int and run >= 0 for run in counts):
            raise ValueError("expected RLE counts to be non-negative integers")
        total = sum(counts)
    elif isinstance(counts, str):
        total = _count_pixels(counts)
    else:
        raise ValueError(f"expected RLE counts as a string or a list; got {type(counts).__name__}")
    if total != height * width:
        raise ValueError(f"expected RLE counts of {height * width} pixels in all; got {total}")


def _count_pixels(counts: str) -> int:
    """Sum of the runs of a compressed encoding.

    A number takes 5 bits a character, lowest first; 0x20 says that it goes on, 0x10 in the last one is its sign.
    """
    codes = np.frombuffer(counts.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return 0
    final = (codes & 0x20) == 0
    if codes.min() < 0 or codes.max() > 63 or not final[-1]:
        raise ValueError("expected a compressed RLE string; the counts are damaged")
    starts = np.concatenate([[0], np.flatnonzero(final)[:-1] + 1])
    ends = np.flatnonzero(final)
    lengths = ends - starts + 1
    if lengths.max() > 7:  # 34 bits and a sign: no image has more pixels
        raise ValueError("expected a compressed RLE string; the counts are damaged")
    shifts = 5 * (np.arange(codes.size) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & 0x1F) << shifts, starts)
    values -= np.where(codes[ends] & 0x10, 1 << (5 * lengths), 0)
    # From the fourth run on, each is stored as its difference to the run two places before.
    runs = np.concatenate([values[:1], values[1:]])
    runs[1::2], runs[2::2] = np.cumsum(values[1::2]), np.cumsum(values[2::2])
    if runs.min() < 0:
        raise ValueError("expected a compressed RLE string; a run is negative")
    return sum(runs.tolist())  # of any size, where int64 could wrap


def _with_text(encoded: dict[str, Any]) -> RLE:
    counts = encoded["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in encoded["size"]], "counts": text}
