"""Keypoints of heatmaps in plain numpy, written from the formulas, with loops."""

from __future__ import annotations

import math

import numpy as np


def cubic(distance: float) -> float:
    """Keys's kernel (1981) at a = -0.75."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def resize_cubic(values: np.ndarray, size: int) -> np.ndarray:
    """The rows of `values` resized to `size` of them, the first and the last row repeated beyond the border."""
    resized = np.zeros((size, *values.shape[1:]))
    for row in range(size):
        at = (row + 0.5) * len(values) / size - 0.5
        for cell in range(math.floor(at) - 1, math.floor(at) + 3):
            resized[row] += cubic(at - cell) * values[min(max(cell, 0), len(values) - 1)]
    return resized


def decode(heatmap: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """One heatmap [H, W] over one box: the resized heatmap, and (x, y, logit, probability) and the lead of its peak.

    The lead is how much higher the peak is than every other point; where it is next to nothing, rounding decides.
    """
    heatmap, (x1, y1, x2, y2) = heatmap.astype(np.float64), box.astype(np.float64)
    width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    columns, rows = math.ceil(width), math.ceil(height)
    resized = resize_cubic(resize_cubic(heatmap, rows).T, columns).T
    ordered = np.sort(resized, axis=None)
    row, column = np.unravel_index(resized.argmax(), resized.shape)
    x, y = x1 + (column + 0.5) * width / columns, y1 + (row + 0.5) * height / rows
    probability = 1 / np.exp(heatmap - resized.max()).sum()
    lead = float(ordered[-1] - ordered[-2]) if ordered.size > 1 else math.inf
    return resized, np.array([x, y, resized.max(), probability]), lead
