"""Labels of the boxes that :func:`fastmrcnn.ops.match_boxes` has matched."""

from __future__ import annotations

import torch
from torch import Tensor

from fastmrcnn.ops import BACKGROUND, IGNORED


def gather_labels(matches: Tensor, labels: Tensor) -> Tensor:
    """The class of each matched box: [N] int64; 0 for background, -1 for ignored boxes. ``labels``: [M] int64, >= 1."""
    if labels.shape[0] == 0:
        labels = labels.new_zeros(1)  # nothing is matched, but there must be something to index
    matched = torch.where(matches == BACKGROUND, 0, labels[matches.clamp(min=0)])
    return torch.where(matches == IGNORED, -1, matched)
