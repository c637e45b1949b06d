"""Bitmaps of masks cropped to where their pixels are: pictures need no bitmaps of whole images."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.ops import InstanceMasks, paste_masks

if TYPE_CHECKING:
    from fastmrcnn.structures.detections import Detections

# A bitmap, bool [h, w], and the (x, y) of its first column and row in the image.
MaskCrop: TypeAlias = "tuple[np.ndarray, tuple[int, int]]"


def mask_crops(found: Detections) -> list[MaskCrop] | None:
    """The mask of each instance, of detections on the host; None of a model that finds boxes alone."""
    if found.mask_runs is not None:
        return crops_of_runs(found.mask_runs)
    if found.mask_probs is not None:
        return crops_of_probabilities(found.mask_probs, found.boxes, found.image_size, found.paste_method)
    return None


def crops_of_probabilities(
    mask_probs: Tensor, boxes: Tensor, image_size: tuple[int, int], method: str
) -> list[MaskCrop]:
    """Each mask pasted by ``method`` into no more of the image than its box and the frame around it.

    mask_probs: [N, M, M]; boxes: [N, 4], x1, y1, x2, y2 in px; image_size: (height, width).
    """
    height, width = image_size
    reach = 1 / max(mask_probs.shape[-1], 1)  # a mask is pasted with a frame one cell wide around the box
    crops = []
    for box, probability in zip(boxes, mask_probs, strict=True):
        x1, y1, x2, y2 = torch.nan_to_num(box).tolist()
        margin_x, margin_y = abs(x2 - x1) * reach + 1, abs(y2 - y1) * reach + 1
        left, right = (int(min(max(x, 0), width)) for x in (x1 - margin_x, x2 + margin_x + 1))
        top, bottom = (int(min(max(y, 0), height)) for y in (y1 - margin_y, y2 + margin_y + 1))
        shifted = box - box.new_tensor([left, top, left, top])
        size = (max(bottom - top, 0), max(right - left, 0))
        bitmap = paste_masks(probability[None], shifted[None], size, method=method)[0]
        crops.append((bitmap.numpy(), (left, top)))
    return crops


def crops_of_runs(masks: InstanceMasks) -> list[MaskCrop]:
    """Each mask in its tight box."""
    crops = []
    for index, (left, top, right, bottom) in enumerate(masks.boxes().int().tolist()):
        bitmap = masks[index : index + 1].crop(top, left, bottom - top, right - left).to_bitmaps()[0]
        crops.append((bitmap.numpy(), (left, top)))
    return crops
