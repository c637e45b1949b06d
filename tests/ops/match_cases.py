"""What match_boxes should find, pair by pair."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.ops import BACKGROUND, IGNORED

DTYPES = [torch.float32, torch.float64]
THRESHOLDS = [(0.7, 0.3), (0.5, 0.5), (0.5, 0.0), (0.0, 0.0), (1.0, 1.0)]  # foreground, background
NO_OBJECTS = torch.zeros(0, 4)


def overlap(a: np.ndarray, b: np.ndarray) -> np.floating:
    zero = a.dtype.type(0)
    width = np.maximum(zero, np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]))
    return width * np.maximum(zero, np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]))


def area(box: np.ndarray) -> np.floating:
    return (box[2] - box[0]) * (box[3] - box[1])


def known(value: np.floating) -> np.floating:
    return value if value == value else value.dtype.type(0)


class Reference:
    """Pair by pair, in the dtype of the boxes."""

    def __init__(self, objects: Tensor, boxes: Tensor, regions: Tensor) -> None:
        m, n, r = objects.numpy(), boxes.numpy(), regions.to(boxes.dtype).numpy()
        self.number = n.dtype.type
        with np.errstate(all="ignore"):
            self.ious = [[known(overlap(a, b) / (area(a) + area(b) - overlap(a, b))) for a in m] for b in n]
            self.covered = [max((known(overlap(b, a) / area(b)) for a in r), default=0) for b in n]
        self.highest = [max(column) for column in zip(*self.ious, strict=True)]

    def matches(self, foreground: float, background: float, every_object: bool) -> list[int]:
        return [
            self.match(ious, self.number(foreground), self.number(background), every_object, covered)
            for ious, covered in zip(self.ious, self.covered, strict=True)
        ]

    def match(self, ious: list[float], foreground: float, background: float, every_object: bool, covered: float) -> int:
        best = max(range(len(ious)), key=ious.__getitem__, default=None)  # the first of the highest
        attains = [0 < iou == highest for iou, highest in zip(ious, self.highest, strict=True)]
        if every_object and any(attains):
            return best
        if best is None or ious[best] < background:
            return IGNORED if covered >= self.number(0.7) else BACKGROUND
        return best if ious[best] >= foreground else IGNORED
