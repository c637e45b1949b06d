"""The pixels of a picture: in memory, or, of one that was segmented in tiles, read as they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.ops import concatenate_masks, pad_masks
from fastmrcnn.structures import Detections
from fastmrcnn.structures.windows import ImageWindows
from fastmrcnn.visualisation import as_picture

# [C, H, W], what the model looked at.
Pixels: TypeAlias = "Tensor | ImageWindows"

OVERVIEW = 4096  # px of the longer side, beyond which a picture segmented in tiles is drawn smaller
_MASKS_AT_ONCE = 256


def parts_of(image: Pixels) -> Callable[[int, int, int, int], np.ndarray]:
    """What gives a rectangle (top, left, height, width) of the picture as it is shown, uint8 [height, width, 3].

    Numbers other than bytes are shown as bright as the whole picture, or, of one that is read in windows, the rectangle
    allows.
    """
    if isinstance(image, ImageWindows):
        return lambda *place: as_picture(image.read(*place).permute(1, 2, 0).numpy(force=True))
    pixels = image.permute(1, 2, 0).numpy(force=True)
    shown = pixels if pixels.dtype == np.uint8 else as_picture(pixels)
    return lambda top, left, height, width: as_picture(shown[top : top + height, left : left + width])


def whole_of(image: Pixels) -> Tensor:
    """All of the picture, [C, H, W]."""
    return image if isinstance(image, Tensor) else image.read(0, 0, *image.size)


def overview(image: Pixels, found: Detections) -> tuple[Tensor, Detections]:
    """A picture to look at, no larger than a screen can show, with what was found in it."""
    if isinstance(image, Tensor):
        return image, found
    small, factor = image.reduced(OVERVIEW)
    return small, found if factor == 1 else _reduced(found, factor, (small.shape[1], small.shape[2]))


def _reduced(found: Detections, factor: int, size: tuple[int, int]) -> Detections:
    """The detections of a picture in the same made smaller by a factor, to a (height, width)."""
    runs, keypoints = None, found.keypoints
    if found.has_masks:
        beyond = (size[axis] * factor - found.image_size[axis] for axis in (0, 1))  # of which the last means were taken
        whole = pad_masks(found.run_lengths, 0, 0, *beyond)
        parts = [whole[first : first + _MASKS_AT_ONCE] for first in range(0, max(len(whole), 1), _MASKS_AT_ONCE)]
        runs = concatenate_masks([part.resize(*size) for part in parts])
    if keypoints is not None:
        keypoints = torch.cat([keypoints[..., :2] / factor, keypoints[..., 2:]], dim=2)
    boxes = found.boxes / factor
    return replace(
        found, boxes=boxes, mask_probs=None, mask_runs=runs, keypoints=keypoints, image_size=size, source=None
    )
