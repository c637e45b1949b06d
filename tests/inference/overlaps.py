"""How detections of one image overlap."""

from __future__ import annotations

import torch
from torch import Tensor

from fastmrcnn.ops import concatenate_masks, mask_intersections
from fastmrcnn.structures import Detections


def mask_iou(found: Detections, expected: Detections) -> Tensor:
    """[N, M] IoU of masks; 0 across classes."""
    masks = concatenate_masks([found.run_lengths, expected.run_lengths])
    n, m = len(found), len(expected)
    pairs = torch.cartesian_prod(torch.arange(n), torch.arange(n, n + m))
    shared = mask_intersections(masks, pairs).view(n, m)
    areas = masks.areas()
    iou = shared / (areas[:n, None] + areas[None, n:] - shared)
    return torch.where(found.labels[:, None] == expected.labels, iou, 0)
