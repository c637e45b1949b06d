"""Inputs that every pooling operator is tried with."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fastmrcnn.ops import ps_roi_align, roi_align, roi_pool
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


def pooled_everywhere() -> Iterator[Tensor]:
    """Pooled values and gradients over dtypes, layouts, and all spans of columns and numbers of bins."""
    for dtype in TOLERANCE:
        coordinates = torch.float64 if dtype == torch.float64 else torch.float32
        rois = random_rois(30, 2, 70.0, coordinates)
        rois[:4, 3] = rois[:4, 1] + torch.tensor([0.5, 2.0, 0.0, -9.0])  # a column or none, and reversed
        for layout in ("contiguous", "channels_last"):
            features = random_features(2, 36, 20, 70, dtype=dtype, layout=layout)
            features[0, 0, 0, :3] = torch.tensor([0.0, 2**-24, -(2**-20)])  # zero and subnormal halves
            features.requires_grad_()
            for pooled in (
                roi_align(features, rois, 7, 1.0, 2),
                roi_align(features, rois, (3, 14), 1.0, 0, True),
                roi_align(features, rois[:9], (40, 17), 0.5, 1, True),
                roi_pool(features, rois, (5, 4)),
                ps_roi_align(features, rois, (2, 3), 1.0, 2),
            ):
                yield pooled.detach()
                yield torch.autograd.grad(pooled, features, pooled.detach())[0]
