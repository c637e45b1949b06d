"""Pooling over the pyramid: each box from its level."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastmrcnn.models import PoolerConfig
from fastmrcnn.models.pooling import pool_regions
from fastmrcnn.ops import roi_align

STRIDES = (4, 8, 16, 32, 64)


def level_plainly(box: list[float], scale: float) -> int:
    side = math.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 0))
    level = -math.inf if side == 0 else math.floor(4 + math.log2(side / scale) + 1e-6)
    return int(min(max(level, 2), 5)) - 2


def pyramid(images: int) -> list[Tensor]:
    return [torch.randn(images, 3, 256 // stride, 192 // stride) for stride in STRIDES]


@pytest.mark.parametrize(
    "config", [PoolerConfig(), PoolerConfig(14, sampling_ratio=2, aligned=False, canonical_scale=112)]
)
def test_each_box_is_pooled_from_its_level(config: PoolerConfig) -> None:
    features = pyramid(2)
    boxes = [
        torch.tensor([[0.0, 0.0, 250.0, 180.0], [3.0, 4.0, 20.0, 30.0], [10.0, 10.0, 150.0, 120.0]]),
        torch.tensor([[7.5, 3.5, 190.0, 250.0]]),
    ]
    pooled = pool_regions(features, STRIDES, boxes, config)
    assert pooled.shape == (4, 3, config.output_size, config.output_size)
    row = 0
    for image, of_image in enumerate(boxes):
        for box in of_image:
            level = level_plainly(box.tolist(), config.canonical_scale)
            alone = roi_align(
                features[level][image : image + 1],
                [box[None]],
                config.output_size,
                spatial_scale=1 / (4 << level),
                sampling_ratio=config.sampling_ratio,
                aligned=config.aligned,
            )
            torch.testing.assert_close(pooled[row], alone[0])
            row += 1


def test_no_boxes() -> None:
    features = pyramid(2)
    assert pool_regions(features, STRIDES, [torch.zeros(0, 4), torch.zeros(0, 4)], PoolerConfig()).shape == (0, 3, 7, 7)


def test_a_single_map_is_read_at_its_stride() -> None:
    feature = torch.randn(2, 3, 16, 12)
    boxes = [torch.tensor([[0.0, 0.0, 250.0, 180.0]]), torch.tensor([[7.5, 3.5, 190.0, 250.0]])]
    pooled = pool_regions([feature], [16], boxes, PoolerConfig(14))
    torch.testing.assert_close(pooled, roi_align(feature, boxes, 14, 1 / 16, 0, True))
