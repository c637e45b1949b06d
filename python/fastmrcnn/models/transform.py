"""From images of any size to the network's input, and from its boxes back to the original pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.distributed import batch_greatest
from fastmrcnn.models.config import InputConfig
from fastmrcnn.models.instances import ImageBatch, Size, Targets
from fastmrcnn.models.padding import to_device
from fastmrcnn.models.random_numbers import RandomNumbers
from fastmrcnn.models.resampling import (
    nearest_even_size,
    nearest_size,
    nearest_size_at_once,
    resize_in_8_bits,
    resize_in_fixed_point,
    resize_with_zero_border,
)
from fastmrcnn.ops import InstanceMasks

_FITTED = {"nearest": nearest_size, "nearest_even": nearest_even_size, "nearest_at_once": nearest_size_at_once}

_CACHED_PIXELS = 65536


class InputTransform(nn.Module):
    """Normalise, resize and pad images; resize their targets alike."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: InputConfig) -> None:
        super().__init__()
        self.config = config
        # Training images come in the size that the network shall see; set by those who augment them.
        self.keeps_training_sizes = False
        # Not part of the weights: the configuration holds them.
        self.register_buffer("mean", torch.tensor(config.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.std)[:, None, None], persistent=False)

    def forward(
        self, images: Sequence[Tensor], random: Sequence[RandomNumbers] | None = None, scale: float = 1.0
    ) -> ImageBatch:
        """Images [C, H, W], float in 0..1 or uint8, of any sizes, to one batch on the module's device.

        random: what the size of each is drawn with in training; None: torch's default generator.
        scale: makes images so much larger than the configuration says, also beyond its limits.
        """
        generators = [None] * len(images) if random is None else [own.on(torch.device("cpu")) for own in random]
        sizes = [
            _scaled(self.target_size(image.shape[-2], image.shape[-1], own), scale)
            for image, own in zip(images, generators, strict=True)
        ]
        return self.collate([self.prepare(image, size) for image, size in zip(images, sizes, strict=True)], images)

    def collate(self, prepared: Sequence[Tensor], images: Sequence[Tensor]) -> ImageBatch:
        """Images that :meth:`prepare` made of ``images``, padded to one batch."""
        originals, sizes = ([(own.shape[-2], own.shape[-1]) for own in tensors] for tensors in (images, prepared))
        image_sizes = to_device(torch.tensor(sizes, device="cpu"), self.mean.device)
        return ImageBatch(self._pad(prepared), sizes, originals, image_sizes)

    def target_size(self, height: int, width: int, generator: torch.Generator | None = None) -> Size:
        """(height, width) after resizing: the shorter side at min_size, or what max_size allows for the longer one.

        In training, one of ``train_min_sizes`` is drawn. The draw takes place even where there is only one to choose
        from, as torchvision's does: a seed of the default generator then gives both the same samples later on.
        """
        config = self.config
        if not self.training:
            return self.evaluation_size(height, width)
        if self.keeps_training_sizes:
            return height, width
        choices = config.train_min_sizes or (config.min_size,)
        return self._fitted(height, width, choices[int(torch.rand(1, generator=generator) * len(choices))])

    def evaluation_size(self, height: int, width: int) -> Size:
        """:meth:`target_size` in evaluation mode, whatever mode the module is in."""
        return self._fitted(height, width, self.config.min_size)

    def _fitted(self, height: int, width: int, shorter: int) -> Size:
        config = self.config
        if not config.shrink:
            shorter = max(shorter, min(height, width))
        if config.size_rounding != "down":
            if not config.enlarge:
                shorter = min(shorter, height, width)
            return _FITTED[config.size_rounding](height, width, shorter, config.max_size)
        scale = min(shorter / min(height, width), config.max_size / max(height, width))
        if not config.enlarge:
            scale = min(scale, 1.0)
        return max(int(height * scale), 1), max(int(width * scale), 1)

    def frame_size(self, *sizes: Size) -> Size:
        """(height, width) of the frame that holds images of ``sizes``, with its padding."""
        if self.config.frame == "centred_square":
            return self.config.max_size, self.config.max_size
        height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
        return ceil_to_multiple(height, self.config.size_divisor), ceil_to_multiple(width, self.config.size_divisor)

    def prepare(self, image: Tensor, size: Size | None = None) -> Tensor:
        """One image [C, H, W] normalised and resized, on the module's device: the part that images have to themselves.

        size: (height, width) of the result; None: that of evaluation mode.
        """
        size = self.evaluation_size(image.shape[-2], image.shape[-1]) if size is None else size
        if self.config.resampling == "pil":
            return self.normalise(resize_in_8_bits(image, size))
        if self.config.resampling == "opencv":
            return self.normalise(resize_in_fixed_point(to_device(image, self.mean.device), size))
        if self.config.resampling == "zero_border":
            return self.normalise(resize_with_zero_border(to_device(image, self.mean.device), size))
        return self._resize(self.normalise(image), size)

    def normalise(self, image: Tensor) -> Tensor:
        """Float in 0..1 or uint8 to what the network was trained on."""
        image, white = to_device(image, self.mean.device), 255.0 if image.dtype == torch.uint8 else 1.0
        if self.config.channel_order == "bgr":
            image = image.flip(0)
        pixels = torch.empty(image.shape, dtype=self.mean.dtype, device=image.device)
        # Some rows at a time stay in a processor's cache, where each of the steps would go through the memory.
        rows = max(_CACHED_PIXELS // image.shape[2], 1) if image.device.type == "cpu" else image.shape[1]
        for top in range(0, image.shape[1], rows):
            part = pixels[:, top : top + rows]
            part.copy_(image[:, top : top + rows])
            if white != self.config.pixel_max:
                part.div_(white).mul_(self.config.pixel_max)
            part.sub_(self.mean).div_(self.std)
        return pixels

    def _resize(self, image: Tensor, size: Size) -> Tensor:
        if image.shape[-2:] == size:
            return image
        antialias = self.config.resampling == "antialias"
        wide = image.float() if antialias and image.element_size() < 4 else image  # torch has no half types there
        resized = F.interpolate(wide[None], size=size, mode="bilinear", align_corners=False, antialias=antialias)[0]
        return resized.to(image.dtype)

    def _pad(self, images: Sequence[Tensor]) -> Tensor:
        """Images [C, H_i, W_i] in one frame, [B, C, H, W], at the places that :func:`image_origin` tells."""
        config = self.config
        if config.frame == "centred_square":
            black = -self.mean / self.std
            batch = black.expand(len(images), -1, *self.frame_size()).clone()
        else:
            # What a padded image shows at its borders depends on the padding: all images of a step have the same.
            height, width = batch_greatest(*self.frame_size(*((image.shape[1], image.shape[2]) for image in images)))
            batch = images[0].new_zeros((len(images), config.channels, height, width))
        for slot, image in zip(batch, images, strict=True):
            height, width = image.shape[1:]
            top, left = image_origin((height, width), config)
            slot[:, top : top + height, left : left + width] = image
        return batch

    def targets(
        self,
        targets: Sequence[Mapping[str, Any]],
        batch: ImageBatch,
        random: Sequence[RandomNumbers] | None = None,
    ) -> list[Targets]:
        """Boxes, labels, masks, keypoints and regions to ignore of the original images, brought to the sizes of the
        batch; with them the ``random`` numbers of each image."""
        resized = [
            self._resize_target(target, original, size)
            for target, original, size in zip(targets, batch.original_sizes, batch.sizes, strict=True)
        ]
        if random is None:
            return resized
        return [replace(target, random=own) for target, own in zip(resized, random, strict=True)]

    def _resize_target(self, target: Mapping[str, Any], original: Size, size: Size) -> Targets:
        device = self.mean.device
        boxes = grow_empty_boxes(to_device(target["boxes"], device).to(self.mean.dtype))
        ignore = to_device(target["ignore"], device).to(boxes.dtype) if "ignore" in target else boxes.new_zeros((0, 4))
        masks = target.get("masks")
        if isinstance(masks, Tensor):  # InstanceMasks are resized where they are: on the host, if all is well
            masks = to_device(masks, device)
        if original != size:
            boxes, ignore = scale_boxes(boxes, original, size), scale_boxes(ignore, original, size)
            masks = None if masks is None else resize_masks(masks, size)
        masks = None if masks is None else masks.to(device)
        origin = image_origin(size, self.config)
        boxes, ignore = shift_boxes(boxes, origin), shift_boxes(ignore, origin)
        keypoints = target.get("keypoints")
        if keypoints is not None:
            keypoints = scale_keypoints(to_device(keypoints, device).to(boxes.dtype), original, size)
        return Targets(boxes, to_device(target["labels"], device), masks, ignore, keypoints, origin)


def _scaled(size: Size, scale: float) -> Size:
    return size if scale == 1.0 else (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))


def ceil_to_multiple(value: int, divisor: int) -> int:
    """The smallest multiple of ``divisor`` that is not below ``value``."""
    return -(-value // divisor) * divisor


def image_origin(size: Size, config: InputConfig) -> Size:
    """(top, left) of an image of ``size``, (height, width), in its frame, px."""
    if config.frame == "top_left":
        return 0, 0
    return (config.max_size - size[0]) // 2, (config.max_size - size[1]) // 2


def shift_boxes(boxes: Tensor, origin: Size) -> Tensor:
    """Boxes [..., 4] moved by ``origin``, (down, right), px."""
    if origin == (0, 0):
        return boxes
    x, y = boxes[..., 0::2] + origin[1], boxes[..., 1::2] + origin[0]
    return torch.stack((x, y), dim=-1).flatten(-2)


def scale_boxes(boxes: Tensor, source: Size, target: Size) -> Tensor:
    """Boxes [N, 4] of an image of size ``source``, (height, width), in the same image resized to ``target``."""
    vertical, horizontal = target[0] / source[0], target[1] / source[1]
    # Plain numbers: a tensor of them would have to be copied to the device of the boxes.
    x, y = boxes[..., 0::2] * horizontal, boxes[..., 1::2] * vertical
    return torch.stack((x, y), dim=-1).flatten(-2)


def scale_keypoints(keypoints: Tensor, source: Size, target: Size) -> Tensor:
    """Keypoints [N, K, 3] as :func:`scale_boxes` scales boxes; what follows x and y stays."""
    vertical, horizontal = target[0] / source[0], target[1] / source[1]
    x, y, flag = keypoints.unbind(dim=-1)
    return torch.stack((x * horizontal, y * vertical, flag), dim=-1)


def resize_masks(masks: Tensor | InstanceMasks, size: Size) -> Tensor | InstanceMasks:
    """Bitmaps [M, H, W] resized to ``size`` by nearest neighbour: [M, h, w] uint8.

    Run lengths give the same pixels; polygons are scaled.
    """
    if isinstance(masks, InstanceMasks):
        return masks.resize(*size, mode="nearest")
    if masks.shape[0] == 0:
        return masks.new_zeros((0, *size), dtype=torch.uint8)
    return F.interpolate(masks[:, None].to(torch.uint8), size=size, mode="nearest")[:, 0]


def grow_empty_boxes(boxes: Tensor) -> Tensor:
    """Boxes without width or height made one pixel wide or high: those of one-pixel masks, as ``masks_to_boxes`` gives.

    boxes: [M, 4] float, px.
    """
    corner, opposite = boxes[:, :2], boxes[:, 2:]
    return torch.cat((corner, torch.where(opposite == corner, corner + 1, opposite)), dim=1)
