"""Masks, boxes and plain references for the tests of pasting."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ["smooth", "noise", "binary", "full", "empty"]


def random_masks(kind: str, n: int, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """`[n, size, size]` probabilities."""
    if kind == "smooth":
        masks = torch.sigmoid(4 * F.interpolate(torch.randn(n, 1, 4, 4), size=(size, size), mode="bilinear")[:, 0])
    elif kind == "noise":
        masks = torch.rand(n, size, size)
    elif kind == "binary":
        masks = (torch.rand(n, size, size) > 0.5).float()
    else:
        masks = torch.full((n, size, size), 1.0 if kind == "full" else 0.0)
    return masks.to(dtype)


def tight_boxes(masks: Tensor) -> Tensor:
    """Boxes `[G, 4]`, the right and bottom borders exclusive, of bool masks `[G, h, w]`; zeros for an empty mask."""
    boxes = torch.zeros((len(masks), 4))
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        if len(rows):
            box[:] = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return boxes


def grid_sampled(masks: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """detectron2's rule by torch's own grid_sample over the whole image: `[n, h, w]` values."""
    height, width = image_size
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)  # [n, 1] each
    x = (torch.arange(width) + 0.5 - x1) / (x2 - x1) * 2 - 1  # [n, w]
    y = (torch.arange(height) + 0.5 - y1) / (y2 - y1) * 2 - 1  # [n, h]
    grid = torch.stack((x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)), dim=-1)
    return F.grid_sample(masks[:, None], grid.to(masks.dtype), align_corners=False)[:, 0]


def resized_paste(mask: Tensor, box: Tensor, image_size: tuple[int, int]) -> Tensor:
    """torchvision's rule, written anew: `[h, w]` values. For boxes that touch the image."""
    cells = mask.shape[0]
    scale, centre = (cells + 2) / cells, (box[2:] + box[:2]) * 0.5
    half = (box[2:] - box[:2]) * 0.5 * scale
    x1, y1 = (centre - half).long().tolist()
    x2, y2 = (centre + half).long().tolist()
    columns, rows = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    resized = F.interpolate(F.pad(mask, (1, 1, 1, 1))[None, None], size=(rows, columns), mode="bilinear")[0, 0]
    image = torch.zeros(image_size, dtype=mask.dtype)
    top, left = max(y1, 0), max(x1, 0)
    visible = resized[top - y1 : image_size[0] - y1, left - x1 : image_size[1] - x1]
    image[top : top + visible.shape[0], left : left + visible.shape[1]] = visible
    return image


def plain_rle(mask: np.ndarray) -> str:
    """COCO's run-length string of a bool `[h, w]` mask, after the description of the format."""
    pixels = mask.flatten(order="F")
    counts, previous, run = [], False, 0
    for pixel in pixels:
        if pixel != previous:
            counts.append(run)
            previous, run = pixel, 0
        run += 1
    counts.append(run)
    text = ""
    for k, count in enumerate(counts):
        number = count - counts[k - 2] if k > 2 else count
        while True:
            group, number = number & 31, number >> 5
            done = number == (-1 if group & 16 else 0)
            text += chr((group if done else group | 32) + 48)
            if done:
                break
    return text
