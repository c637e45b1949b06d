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


def resize_in_8_bits(image: Tensor, size: Size) -> Tensor:
    """Pillow's bilinear filter, which is a low-pass where the image shrinks: [3, H, W] -> [3, h, w] uint8.

    Of an image in host memory the bits are Pillow's. On a GPU the same is computed in float32, and values half-way
    between two grey values, up to some in a hundred, are off by one.

    image: uint8, or float in 0..1, which is rounded to 8 bits first.
    """
    if image.dtype != torch.uint8:
        image = (image * 255).round().clamp(0, 255).to(torch.uint8)
    if image.shape[-2:] == size:
        return image
    if padding.reading_is_free(image):
        rows = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        resized = Image.fromarray(rows).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
    # Pillow goes along the rows, rounds, and goes down the columns.
    across = _resize_once(image, (image.shape[-2], size[1]))
    return _resize_once(across, size).to(torch.uint8)


def _resize_once(image: Tensor, size: Size) -> Tensor:
    resized = F.interpolate(image[None].float(), size=size, mode="bilinear", align_corners=False, antialias=True)[0]
    return (resized + 0.5).floor()
