"""Inputs that every pooling operator is tried with."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.ops.box_cases import random_boxes

LAYOUTS = ["contiguous", "channels_last", "strided", "strided_channels_last"]

# Absolute and relative: single precision errs in the sample positions, by ulps of coordinates up to about 100, and
# once more in the sums; the input of half types is exact, their output is rounded to 11 or 8 bits.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def random_features(*shape: int, dtype: torch.dtype = torch.float32, layout: str = "contiguous") -> Tensor:
    """Normally distributed `[N, C, H, W]`; "strided" ones are neither dense nor aligned."""
    n, c, h, w = shape
    if layout == "contiguous":
        return torch.randn(n, c, h, w, dtype=dtype)
    if layout == "channels_last":
        return torch.randn(n, h, w, c, dtype=dtype).permute(0, 3, 1, 2)
    if layout == "strided":
        return torch.randn(n, c, h, 2 * w + 1, dtype=dtype)[..., 1::2]
    return torch.randn(n, h, w, c + 3, dtype=dtype).permute(0, 3, 1, 2)[:, 1 : c + 1]


def random_rois(count: int, images: int, size: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """`[count, 5]`; boxes partly beyond a map of this size."""
    batch = torch.randint(images, (count, 1)).to(dtype)
    return torch.cat([batch, random_boxes(count, size, longest=size, dtype=dtype) - size / 8], dim=1)


def is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
