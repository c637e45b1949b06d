"""Moving a whole sample: what every geometric transform is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn.data.keypoints import mirrored
from fastmrcnn.data.sample import Sample
from fastmrcnn.data.transforms.base import white
from fastmrcnn.ops import InstanceMasks, pad_masks, replace_masks

Fill: TypeAlias = "float | tuple[float, ...]"  # of all channels, or of each


def mirror(sample: Sample, *, horizontal: bool) -> Sample:
    """Left and right change places, or top and bottom; in either mirror left keypoints become right ones."""
    axis = 0 if horizontal else 1  # of x and y
    side = sample.image.shape[2 - axis]
    boxes = sample.boxes.clone()
    boxes[:, [axis, axis + 2]] = side - sample.boxes[:, [axis + 2, axis]]
    keypoints = sample.keypoints
    if keypoints is not None:
        keypoints = keypoints[:, mirrored(sample.keypoint_names)]
        keypoints[..., axis] = side - keypoints[..., axis]
    return replace(
        sample,
        image=sample.image.flip(2 - axis),
        boxes=boxes,
        masks=sample.masks.flip(horizontal=horizontal, vertical=not horizontal),
        keypoints=keypoints,
    )


def resize(sample: Sample, height: int, width: int) -> Sample:
    """The sample at another size: antialiased bilinear image, scaled polygons, the nearest pixel of run lengths.

    A mask that falls between the pixels of the smaller image keeps the one where its centre is.
    """
    old_height, old_width = sample.image.shape[1:]
    if (height, width) == (old_height, old_width):
        return sample
    x, y = width / old_width, height / old_height
    keypoints = sample.keypoints
    return replace(
        sample,
        image=_resize_pixels(sample.image, height, width),
        boxes=sample.boxes * sample.boxes.new_tensor([x, y, x, y]),
        masks=_resize_masks(sample.masks, height, width),
        areas=sample.areas * (x * y),
        keypoints=None if keypoints is None else keypoints * keypoints.new_tensor([x, y, 1.0]),
    )


def _resize_pixels(image: Tensor, height: int, width: int) -> Tensor:
    by_channel = (height, width) == (1, 1)  # where torch fails for three channels of 8 bits at once
    batch = image[:, None] if by_channel else image[None]
    resized = F.interpolate(batch, (height, width), mode="bilinear", antialias=True)
    return resized[:, 0] if by_channel else resized[0]


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """The part of the sample that lies in a window of its image; objects of which no pixel does are left out.

    Box and area of an object that the window cuts are measured on what is left of its mask. Keypoints that are cut off
    count as not labelled.
    """
    if (top, left, height, width) == (0, 0, *sample.image.shape[1:]):
        return sample
    masks = sample.masks.crop(top, left, height, width)
    runs = masks.to_runs()  # once, for both
    areas = runs.areas()
    boxes = sample.boxes - sample.boxes.new_tensor([left, top, left, top])
    cut = ((boxes < 0) | (boxes > boxes.new_tensor([width, height, width, height]))).any(dim=1)
    cropped = replace(
        sample,
        image=sample.image[:, top : top + height, left : left + width].contiguous(),  # lets go of the rest
        boxes=torch.where(cut[:, None], runs.boxes(), boxes),
        masks=masks,
        areas=torch.where(cut, areas, sample.areas),
        keypoints=_crop_keypoints(sample.keypoints, top, left, height, width),
    )
    return cropped.select(areas > 0)


def pad(sample: Sample, top: int, left: int, bottom: int, right: int, *, fill: Fill = 0.5) -> Sample:
    """The sample with so many rows and columns around it, of ``fill``: a grey, 0 black to 1 white, or a value for each
    channel."""
    if not (top or left or bottom or right):
        return sample
    keypoints = sample.keypoints
    return replace(
        sample,
        image=_pad_image(sample.image, (left, right, top, bottom), fill),
        boxes=sample.boxes + sample.boxes.new_tensor([left, top, left, top]),
        masks=pad_masks(sample.masks, top, left, bottom, right),
        keypoints=None if keypoints is None else keypoints + keypoints.new_tensor([left, top, 0]),
    )


def _pad_image(image: Tensor, around: tuple[int, int, int, int], fill: Fill) -> Tensor:
    """``around``: left, right, top, bottom."""
    if isinstance(fill, int | float):
        return F.pad(image, around, value=_value_of(fill, image))
    return torch.stack(
        [F.pad(channel, around, value=_value_of(value, image)) for channel, value in zip(image, fill, strict=True)]
    )


def _value_of(grey: float, image: Tensor) -> float:
    """A grey of 0..1 as a pixel of the image."""
    return grey * white(image) if image.is_floating_point() else round(grey * white(image))


def _resize_masks(masks: InstanceMasks, height: int, width: int) -> InstanceMasks:
    resized = masks.resize(height, width)
    vanished = resized.areas() == 0
    if not bool(vanished.any()):
        return resized
    x1, y1, x2, y2 = masks[vanished].boxes().unbind(1)
    rows = ((y1 + y2) / 2 * (height / masks.height)).long().clamp(max=height - 1)
    columns = ((x1 + x2) / 2 * (width / masks.width)).long().clamp(max=width - 1)
    places = (columns * height + rows).tolist()
    pixels = [{"size": [height, width], "counts": [place, 1, height * width - place - 1]} for place in places]
    return replace_masks(resized, vanished, InstanceMasks.from_coco(pixels, height, width))


def _crop_keypoints(keypoints: Tensor | None, top: int, left: int, height: int, width: int) -> Tensor | None:
    if keypoints is None:
        return None
    moved = keypoints - keypoints.new_tensor([left, top, 0])
    x, y, visibility = moved.unbind(-1)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (visibility > 0)
    return moved * inside[..., None]
