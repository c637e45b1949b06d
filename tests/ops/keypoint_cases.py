"""Heatmaps and boxes that keypoints are decoded from."""

from __future__ import annotations

import torch
from torch import Tensor


def noise_maps(boxes: int, keypoints: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """`[boxes, keypoints, height, width]` logits that are rough everywhere, so that every row is a candidate."""
    return torch.randn(boxes, keypoints, height, width, dtype=torch.float64).to(dtype)


def peaked_maps(boxes: int, keypoints: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Logits as a trained head draws them: a hill somewhere, also at the border and beyond, and a little noise."""
    y, x = (torch.arange(n, dtype=torch.float64) for n in (height, width))
    centre_y, centre_x = (torch.rand(boxes, keypoints, 1, dtype=torch.float64) * (n + 4) - 2 for n in (height, width))
    distances = (y - centre_y)[..., :, None] ** 2 + (x - centre_x)[..., None, :] ** 2
    noise = torch.randn(boxes, keypoints, height, width, dtype=torch.float64)
    return (12 * torch.exp(-distances / 8) - 6 + 0.1 * noise).to(dtype)
