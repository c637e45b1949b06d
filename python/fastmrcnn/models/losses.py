"""The losses, as pure functions.

Each is a mean over the sampled boxes of the batch; without any it is zero, still attached to the network's outputs, so
that every parameter receives a gradient (data-parallel training needs one). Boxes come in slots, of which some may be
empty: their labels say so, and they count for nothing. Where processes share a batch
(:func:`fastmrcnn.distributed.shared_batch`) the mean is over the boxes of all of them, and the loss is this process's
part of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn.distributed import batch_sum


def objectness_loss(logits: Tensor, labels: Tensor, samples: Tensor | int | None = None) -> Tensor:
    """Binary cross-entropy of the sampled anchors.

    Args:
        logits: [S] float. labels: [S], 1 for object, 0 for background and -1 for an empty slot.
        samples: what the sum is divided by; None: by how many anchors were sampled.
    """
    wanted = labels.clamp(min=0).to(logits.dtype)
    losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return torch.where(labels >= 0, losses, 0).sum() / (sampled(labels) if samples is None else samples)


def classification_loss(logits: Tensor, labels: Tensor, samples: Tensor | None = None) -> Tensor:
    """Cross-entropy of the sampled RoIs.

    Args:
        logits: [S, C + 1] float. labels: [S] int64, 0 for background and -1 for an empty slot.
        samples: what the sum is divided by; None: by how many RoIs were sampled.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return losses / (sampled(labels) if samples is None else samples)


def box_regression_loss(
    deltas: Tensor, targets: Tensor, positive: Tensor, *, beta: float, samples: Tensor | int
) -> Tensor:
    """Smooth L1 (L1 where ``beta`` is 0) summed over the positive boxes and divided by all the sampled ones.

    The division by positives and negatives alike (Girshick 2015) gives every positive the same weight whatever their
    number.

    Args:
        deltas, targets: [P, 4] float. positive: [P] bool, the rows that count; the others need finite targets.
        samples: what the sum is divided by, >= 1: how many boxes were sampled, negatives included.
    """
    losses = F.smooth_l1_loss(deltas, targets, beta=beta, reduction="none")
    return torch.where(positive[:, None], losses, 0).sum() / samples


def of_class(outputs: Tensor, labels: Tensor) -> Tensor:
    """What a head says of each box's own class: [P, C + 1, ...], [P] int64 -> [P, ...]; the first class's for -1.

    A class-agnostic head says one thing for all: [P, 1, ...].
    """
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    return outputs[torch.arange(labels.shape[0], device=labels.device), labels.clamp(min=0)]


def class_deltas(deltas: Tensor, labels: Tensor) -> Tensor:
    """The deltas of each box's own class: [P, (C + 1) * 4] or, class-agnostic, [P, 4], and [P] int64 -> [P, 4]."""
    return of_class(deltas.unflatten(1, (-1, 4)), labels)


def mask_loss(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Per-pixel binary cross-entropy on the mask of the true class only (He et al. 2017, section 3).

    Args:
        logits: [P, C + 1, M, M] float, or [P, 1, M, M] of a class-agnostic head.
        labels: [P] int64; RoIs below 1 have no object and do not count.
        targets: [P, M, M] float in 0..1.
    """
    wanted = targets.to(logits.dtype)  # of two dtypes torch would compute in that of the targets
    losses = F.binary_cross_entropy_with_logits(of_class(logits, labels), wanted, reduction="none")
    return mean_of_objects(losses, labels)


def softmax_mask_loss(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Per-pixel cross-entropy over classes that compete, as in an FCN (Long et al. 2015; He et al. 2017, table 2b).

    A pixel of the object is to show its class, any other the background; one that the object covers in part, both in
    these shares.

    Args:
        logits: [P, C + 1, M, M] float; index 0 is the background.
        labels, targets: as for :func:`mask_loss`.
    """
    log_probs = logits.log_softmax(dim=1)
    losses = -(targets * of_class(log_probs, labels) + (1 - targets) * log_probs[:, 0])
    return mean_of_objects(losses, labels)


def mean_of_objects(losses: Tensor, labels: Tensor) -> Tensor:
    """The mean over all pixels of the RoIs with an object, those whose label is above 0: [P, M, M], [P] -> scalar."""
    positive = labels > 0
    return torch.where(positive, losses.mean(dim=(1, 2)), 0).sum() / number_of(positive)


def keypoint_loss(logits: Tensor, cells: Tensor) -> Tensor:
    """Cross-entropy over the S x S cells of each heatmap, one of which is right (He et al. 2017, section 5); the mean
    over the keypoints that have one.

    Args:
        logits: [P, K, S, S] float. cells: [P, K] int64, row by row; -1 for keypoints that do not count.
    """
    losses = F.cross_entropy(logits.flatten(2).flatten(0, 1), cells.flatten(), ignore_index=-1, reduction="sum")
    return losses / number_of(cells >= 0)


def sampled(labels: Tensor) -> Tensor:
    """How many slots hold a box, background included; see :func:`number_of`."""
    return number_of(labels >= 0)


def number_of(counted: Tensor) -> Tensor:
    """How many are true, in all processes that share the batch; at least 1, to divide by."""
    return batch_sum(counted.sum()).clamp(min=1)
