"""Anchors and proposals matched to the objects of an image, and the labels that follow."""

from __future__ import annotations

import torch
from torch import Tensor

from fastmrcnn.models.config import BoxHeadConfig, RPNConfig
from fastmrcnn.models.instances import Targets
from fastmrcnn.ops import BACKGROUND, IGNORED, encode_boxes, match_boxes


def match_target(
    target: Targets, boxes: Tensor, config: RPNConfig | BoxHeadConfig, *, every_object: bool = False
) -> Tensor:
    """The object of each box, [N] int64, or ``BACKGROUND`` or ``IGNORED``, by the thresholds of ``config``.

    boxes: [N, 4]; ``every_object`` as for :func:`fastmrcnn.ops.match_boxes`.
    """
    ignoring = config.ignore_overlap is not None
    return match_boxes(
        target.boxes,
        boxes,
        foreground=config.foreground_iou,
        background=config.background_iou,
        every_object=every_object,
        ignore_regions=target.ignore if ignoring else None,
        ignore_overlap=config.ignore_overlap or 1.0,  # of no account without regions
    )


def gather_labels(matches: Tensor, labels: Tensor) -> Tensor:
    """The class of each matched box: [N] int64; 0 for background, -1 for ignored boxes. ``labels``: [M] int64, >= 1."""
    if labels.shape[0] == 0:
        labels = labels.new_zeros(1)  # nothing is matched, but there must be something to index
    matched = torch.where(matches == BACKGROUND, 0, labels[matches.clamp(min=0)])
    return torch.where(matches == IGNORED, -1, matched)


def regression_targets(
    objects: Tensor, matches: Tensor, boxes: Tensor, weights: tuple[float, float, float, float]
) -> Tensor:
    """The offsets from each box to its object: [M, 4], [S] int64, [S, 4] -> [S, 4]; zeros where it has none."""
    if objects.shape[0] == 0:
        return torch.zeros_like(boxes)
    deltas = encode_boxes(objects[matches.clamp(min=0)], boxes, weights)
    # Empty slots have no sides, whose logarithms must stay out of the losses.
    return torch.where((matches >= 0)[:, None], deltas, 0)
