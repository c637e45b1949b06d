"""Mask probabilities pasted into the image without a threshold, by torchvision's rule."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST_COORDINATE = 2**31  # farther out a box lies in no image, and may not fit an integer
_OFF_IMAGE = -1.0


def paste_soft_masks(mask_probs: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Paste mask probabilities into their boxes, as torchvision's Mask R-CNN does for its ``masks``.

    Each map is padded by one zero on every side and its box grown by (M + 2) / M about the centre to match;
    the corners are truncated to integers; the map is resized bilinearly (``align_corners=False``) to x2 - x1
    + 1 by y2 - y1 + 1 pixels, each at least one, and written where it meets the image. (torchvision 0.29,
    ``models.detection.roi_heads.paste_masks_in_image``; equal to it within 1e-6.) For bitmaps use
    ``ops.paste_masks``.

    Args:
        mask_probs: float [N, M, M], probabilities in 0..1.
        boxes: float [N, 4], x1, y1, x2, y2 in pixels. A box that is not finite pastes nothing.
        image_size: (height, width) in pixels.

    Returns:
        float [N, height, width], zero outside the boxes. Not differentiable.

    >>> paste_soft_masks(torch.ones(1, 28, 28), torch.tensor([[2.0, 1.0, 5.0, 4.0]]), (6, 8)).shape
    torch.Size([1, 6, 8])
    """
    height, width = image_size
    side = mask_probs.shape[-1] + 2
    padded = torch.nn.functional.pad(mask_probs.detach().float(), (1, 1, 1, 1))  # [N, M + 2, M + 2]
    pasted = padded.new_zeros(len(padded), height, width)
    corners = _grown_corners(boxes.detach(), side / (side - 2)).tolist()  # on a GPU the one wait: all below is queued
    for canvas, probabilities, (x1, y1, x2, y2) in zip(pasted, padded, corners, strict=True):
        left, right = max(x1, 0), min(x2 + 1, width)
        top, bottom = max(y1, 0), min(y2 + 1, height)
        if left >= right or top >= bottom:
            continue
        rows = _resample(probabilities, y1, y2, top, bottom)  # [bottom - top, M + 2]
        canvas[top:bottom, left:right] = _resample(rows.T, x1, x2, left, right).T
    return pasted


def _grown_corners(boxes: Tensor, scale: float) -> Tensor:
    """Boxes grown by ``scale`` about their centres, truncated to int64 [N, 4]; unusable ones lie off the image."""
    centre = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * scale
    grown = torch.cat([centre - half, centre + half], dim=1)  # [N, 4]
    usable = (grown.abs() < _LARGEST_COORDINATE).all(dim=1, keepdim=True)  # NaN and infinity fail
    return torch.where(usable, grown, _OFF_IMAGE).to(torch.int64)


def _resample(rows: Tensor, first: int, last: int, start: int, stop: int) -> Tensor:
    """Rows ``start`` to ``stop - 1`` of ``rows`` [S, C] stretched over ``first``..``last``, bilinearly: [R, C]."""
    size = max(last - first + 1, 1)
    pixels = torch.arange(start - first, stop - first, device=rows.device).to(rows.dtype)
    at = ((pixels + 0.5) * (len(rows) / size) - 0.5).clamp(min=0)
    lower = at.long().clamp(max=len(rows) - 1)
    upper = (lower + 1).clamp(max=len(rows) - 1)
    weight = (at - lower)[:, None]
    return rows[lower] * (1 - weight) + rows[upper] * weight
