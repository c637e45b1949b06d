"""The five losses, as pure functions.

Each is a mean over the sampled boxes of the batch; without any it is zero, still attached to the network's outputs, so
that every parameter receives a gradient (data-parallel training needs one).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def objectness_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of the sampled anchors.

    Args:
        logits: [S] float. labels: [S], 1 for object and 0 for background.
    """
    loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")
    return loss / max(logits.numel(), 1)


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the sampled RoIs. logits: [S, C + 1] float; labels: [S] int64, 0 for background."""
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return loss / max(labels.numel(), 1)


def box_regression_loss(deltas: Tensor, targets: Tensor, *, beta: float, samples: int) -> Tensor:
    """Smooth L1 (L1 where ``beta`` is 0) summed over the positive boxes and divided by all the sampled ones.

    The division by positives and negatives alike (Girshick 2015) gives every positive the same weight whatever their
    number.

    Args:
        deltas, targets: [P, 4] float, of the positives. samples: how many boxes were sampled, negatives included.
    """
    return F.smooth_l1_loss(deltas, targets, beta=beta, reduction="sum") / max(samples, 1)


def class_deltas(deltas: Tensor, labels: Tensor) -> Tensor:
    """The deltas of each box's own class: [P, (C + 1) * 4], [P] int64 -> [P, 4]."""
    by_class = deltas.unflatten(1, (-1, 4))  # [P, C + 1, 4]
    own: Tensor = by_class[torch.arange(labels.shape[0], device=labels.device), labels]
    return own


def mask_loss(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Per-pixel binary cross-entropy on the mask of the true class only (He et al. 2017, section 3).

    Args:
        logits: [P, C + 1, M, M] float. labels: [P] int64, >= 1. targets: [P, M, M] float in 0..1.
    """
    if labels.numel() == 0:
        return logits.sum() * 0
    own = logits[torch.arange(labels.shape[0], device=labels.device), labels]  # [P, M, M]
    return F.binary_cross_entropy_with_logits(own, targets)
