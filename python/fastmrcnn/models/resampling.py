"""Resizing images: to which size, and by which rule."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fastmrcnn.models import padding
from fastmrcnn.models.instances import Size


def nearest_size(height: int, width: int, shorter: int, longest: int) -> Size:
    """(height, width) with the shorter side at ``shorter``, or less where the other one would exceed ``longest``.

    Rounded to the nearest pixel. The sides are scaled once for each of the two conditions, as in detectron2: computed
    in one step, an extreme shape that comes out half-way between two sizes would fall to the other side.
    """
    least = min(height, width)
    sides = [shorter if side == least else side * (shorter / least) for side in (height, width)]
    if max(sides) > longest:
        sides = [side * (longest / max(sides)) for side in sides]
    return max(int(sides[0] + 0.5), 1), max(int(sides[1] + 0.5), 1)


def nearest_even_size(height: int, width: int, shorter: int, longest: int) -> Size:
    """Like :func:`nearest_size`, but of two whole pixels that are as near the even one, as Matterport has it.

    The longer side is measured rounded, and both sides are scaled once.
    """
    scale = shorter / min(height, width)
    if round(max(height, width) * scale) > longest:
        scale = longest / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def nearest_size_at_once(height: int, width: int, shorter: int, longest: int) -> Size:
    """Like :func:`nearest_size`, but with both sides scaled once, by the smaller of both factors (mmdetection)."""
    scale = min(longest / max(height, width), shorter / min(height, width))
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def as_bytes(image: Tensor) -> Tensor:
    """Whole grey values, uint8: those nearest to float ones in 0..1."""
    return image if image.dtype == torch.uint8 else (image * 255).round().clamp(0, 255).to(torch.uint8)


def resize_in_8_bits(image: Tensor, size: Size) -> Tensor:
    """Pillow's bilinear filter, which is a low-pass where the image shrinks: [C, H, W] -> [C, h, w] uint8.

    Of an image in host memory the bits are Pillow's. On a GPU the same is computed in float32, and values half-way
    between two grey values, up to some in a hundred, are off by one.

    image: uint8, or float in 0..1, which is rounded to 8 bits first.
    """
    image = as_bytes(image)
    if image.shape[-2:] == size:
        return image
    if padding.reading_is_free(image):
        if image.shape[0] == 3:  # all at once; Pillow has no images of any number of channels
            return torch.from_numpy(_pillow_resized(image.permute(1, 2, 0), size)).permute(2, 0, 1)
        return torch.stack([torch.from_numpy(_pillow_resized(channel, size)) for channel in image])
    # Pillow goes along the rows, rounds, and goes down the columns.
    across = _resize_once(image, (image.shape[-2], size[1]))
    return _resize_once(across, size).to(torch.uint8)


def _pillow_resized(pixels: Tensor, size: Size) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3] to [h, w] or [h, w, 3]."""
    image = Image.fromarray(np.ascontiguousarray(pixels.numpy()))
    return np.array(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _resize_once(image: Tensor, size: Size) -> Tensor:
    resized = F.interpolate(image[None].float(), size=size, mode="bilinear", align_corners=False, antialias=True)[0]
    return (resized + 0.5).floor()


def resize_in_fixed_point(image: Tensor, size: Size) -> Tensor:
    """OpenCV's bilinear rule, without a low-pass: [C, H, W] -> [C, h, w] uint8, the same on every device.

    It computes in whole numbers: weights are multiples of 1/2048, and sums of two rows lose four bits before they are
    added. A plain bilinear rule, rounded, would be off by one in a tenth of the values.

    image: as for :func:`resize_in_8_bits`.
    """
    image = as_bytes(image)
    if image.shape[-2:] == size:
        return image
    left, right, left_weight, right_weight = _fixed_point_taps(image.shape[2], size[1], image.device, at_border=False)
    across = image[:, :, left] * left_weight + image[:, :, right] * right_weight  # [C, H, w] int32
    upper, lower, upper_weight, lower_weight = _fixed_point_taps(image.shape[1], size[0], image.device, at_border=True)
    above = ((across[:, upper] >> 4) * upper_weight[:, None]) >> 16
    below = ((across[:, lower] >> 4) * lower_weight[:, None]) >> 16
    return ((above + below + 2) >> 2).to(torch.uint8)


def _fixed_point_taps(
    source: int, target: int, device: torch.device, *, at_border: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each of ``target`` pixels the two of ``source`` that it lies between, [target] int64, and their weights,
    int32, in 1/2048. Beyond the border both are the border's pixel; ``at_border`` it counts in two parts all the same.
    """
    centres = torch.arange(target, dtype=torch.float64, device=device) + 0.5
    position = (centres * (source / target) - 0.5).float()
    first = position.floor()
    share = position - first
    if not at_border:
        share = torch.where((first < 0) | (first >= source - 1), 0, share)
    pixels = first.long()
    weights = [(part * 2048).round().int() for part in (1 - share, share)]
    return pixels.clamp(0, source - 1), (pixels + 1).clamp(0, source - 1), weights[0], weights[1]


def resize_with_zero_border(image: Tensor, size: Size) -> Tensor:
    """Bilinear without a low-pass, zeros beyond the image, cut off to whole numbers: [C, H, W] -> [C, h, w] uint8.

    What ``skimage.transform.resize(image, size, order=1, mode="constant", preserve_range=True)`` gives without
    anti-aliasing, which never leaves the range of the image's own values either. In float64 as there: the fraction that
    is cut off is often zero but for rounding.

    image: as for :func:`resize_in_8_bits`.
    """
    image = as_bytes(image)
    if image.shape[-2:] == size:
        return image
    pixels = image[None].double()
    resized = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)[0]
    rows, columns = (
        _share_of_image(before, after, image.device) for before, after in zip(image.shape[1:], size, strict=True)
    )
    return torch.maximum(resized * rows[:, None] * columns, pixels.amin()).to(torch.uint8)


def _share_of_image(before: int, after: int, device: torch.device) -> Tensor:
    """How much of each sample lies on the image where one side goes from ``before`` to ``after`` pixels: [after].

    Samples near the border lie between the last pixel and nothing.
    """
    position = (torch.arange(after, dtype=torch.float64, device=device) + 0.5) * (before / after) - 0.5
    return 1 - torch.maximum(-position, position - (before - 1)).clamp(min=0)
