"""Plain numpy references of NMS and soft-NMS, and scores to try them with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def reference_nms(boxes: Tensor, scores: Tensor, threshold: float, groups: Tensor | None = None) -> list[int]:
    """Greedy NMS, box by box: IoUs in the dtype of the boxes, compared with the threshold in double precision."""
    box, score = boxes.numpy(), scores.numpy()
    group = np.zeros(len(box), int) if groups is None else groups.numpy()
    order = sorted(range(len(box)), key=lambda i: (not np.isnan(score[i]), -score[i] if score[i] == score[i] else 0, i))
    kept: list[int] = []
    with np.errstate(all="ignore"):
        for i in order:
            if not any(group[i] == group[k] and float(reference_iou(box[k], box[i])) > threshold for k in kept):
                kept.append(i)
    return kept


def reference_iou(a: np.ndarray, b: np.ndarray) -> np.floating:
    zero = a.dtype.type(0)
    width = np.maximum(zero, np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]))
    height = np.maximum(zero, np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]))
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area_a + area_b - width * height)


def tied_scores(n: int) -> Tensor:
    return torch.randint(5, (n,)) / 5.0


def reference_soft_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
    method: str = "gaussian",
    idxs: Tensor | None = None,
) -> tuple[list[int], list[float]]:
    """Box by box. IoUs in the dtype of the boxes, the rest in double precision."""
    box, score = boxes.numpy(), scores.double().numpy().copy()
    group = np.zeros(len(box), int) if idxs is None else idxs.numpy()
    left, kept, decayed = list(range(len(box))), [], []
    while left:
        left = [i for i in left if score[i] >= score_threshold]
        if not left:
            break
        best = max(left, key=lambda i: (score[i], -i))
        kept.append(best)
        decayed.append(float(score[best]))
        left.remove(best)
        for i in left:
            with np.errstate(all="ignore"):
                iou = float(reference_iou(box[best], box[i]))
            if group[i] != group[best] or not iou > 0:
                continue
            if method == "gaussian":
                score[i] *= np.exp(-(iou**2) / sigma)
            elif iou > iou_threshold:
                score[i] *= max(0.0, 1 - iou)
    return kept, decayed
