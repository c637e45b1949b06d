"""COCO segmentations of every kind for the tests of encoded masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.ops.mask_cases import plain_rle

POLYGON_KINDS = [
    "inside",
    "across the border",
    "whole coordinates",
    "tenths",
    "tiny",
    "collinear",
    "huge",
    "repeated points",
    "closed",
]


def random_polygon(rng: np.random.Generator, kind: str, height: int, width: int) -> list[float]:
    """`[x0, y0, x1, y1, ...]`, for an image of that size."""
    size, count = np.array([width, height], dtype=np.float64), int(rng.integers(3, 12))
    inside = rng.uniform(0, 1, (count, 2)) * size
    points = {
        "inside": lambda: inside,
        "across the border": lambda: rng.uniform(-1.5, 1.5, (count, 2)) * size,
        "whole coordinates": lambda: rng.integers(-3, max(height, width) + 3, (count, 2)),
        "tenths": lambda: rng.integers(0, 10 * max(height, width), (count, 2)) / 10,
        "tiny": lambda: inside[:1] + rng.uniform(-0.6, 0.6, (count, 2)),
        "collinear": lambda: inside[:1] + np.linspace(0, 1, count)[:, None] * rng.uniform(-50, 50, 2),
        "huge": lambda: rng.uniform(-3000, 3000, (count, 2)),
        "repeated points": lambda: np.repeat(inside, 2, axis=0),
        "closed": lambda: np.concatenate([inside, inside[:1]]),
    }[kind]()
    return [float(value) for value in points.ravel()]


def random_bitmap(rng: np.random.Generator, height: int, width: int) -> NDArray[np.bool_]:
    """Blocks, with a share of noise."""
    blocks = np.kron(rng.random((3, 3)) < 0.5, np.ones((height // 3 + 1, width // 3 + 1)))[:height, :width] > 0
    return blocks ^ (rng.random((height, width)) < rng.choice([0, 0.02, 0.5]))


def random_segmentations(rng: np.random.Generator, count: int, height: int, width: int) -> list[Any]:
    """Polygons, several polygons, compressed and plain run lengths, in turn."""
    segmentations: list[Any] = []
    for number in range(count):
        kinds = rng.choice(POLYGON_KINDS, 1 + number % 4)
        if number % 2:
            segmentations.append([random_polygon(rng, kind, height, width) for kind in kinds])
        else:
            bitmap = random_bitmap(rng, height, width)
            flat = np.concatenate([[False], bitmap.ravel(order="F")])
            changes = np.flatnonzero(flat[1:] != flat[:-1])
            plain = np.diff(np.concatenate([[0], changes, [bitmap.size]])).tolist()
            counts = plain if number % 4 else plain_rle(bitmap)
            segmentations.append({"size": [height, width], "counts": counts})
    return segmentations
