"""A small pyramid, RoIs for all of its levels, and multiscale_roi_align on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import assign_levels, multiscale_roi_align
from tests.ops.roi_cases import TOLERANCE, random_features, random_rois

SCALES = [1 / 2, 1 / 4, 1 / 8]
LEVELS: dict[str, Any] = {
    "canonical_scale": 16,
    "canonical_level": 2,
}  # levels 1, 2, 3 for sides below 16, 32 and above
SAMPLING = [(2, False), (3, True), (0, True), (-1, False)]
every_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])


def pyramid(
    images: int = 2, channels: int = 3, dtype: torch.dtype = torch.float32, layout: str = "contiguous"
) -> list[Tensor]:
    """Of an image of 48 x 56 pixels; the sides of a level are not half of the finer ones."""
    return [
        random_features(images, channels, height, width, dtype=dtype, layout=layout)
        for height, width in ((24, 28), (13, 14), (6, 7))
    ]


def rois_of_all_levels(count: int, images: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    rois = random_rois(count, images, 80.0, dtype)
    rois[:3, 3:] = rois[:3, 1:3] + torch.tensor([[9.0, 11], [25, 17], [30, 60]], dtype=dtype)
    assert assign_levels(rois[:3, 1:], 1, 3, **LEVELS).tolist() == [1, 2, 3]
    return rois


def pool(features: list[Tensor] | tuple[Tensor, ...], rois: Tensor, *arguments: Any, **options: Any) -> Tensor:
    size, ratio, aligned = arguments or (2, 2, True)
    return multiscale_roi_align(features, rois, size, SCALES, ratio, aligned, **LEVELS, **options)


def assert_close(ours: Tensor, expected: np.ndarray | Tensor, dtype: torch.dtype) -> None:
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(ours.double(), torch.as_tensor(expected).double(), rtol=tolerance, atol=tolerance)
