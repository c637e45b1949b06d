"""Pooling over the pyramid: each box from its level."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastmrcnn.models import PoolerConfig
from fastmrcnn.models.pooling import pool_regions
from fastmrcnn.ops import roi_align, roi_pool

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


BOXES = [
    torch.tensor([[0.0, 0.0, 250.0, 180.0], [3.0, 4.0, 20.0, 30.0], [10.0, 10.0, 150.0, 120.0]]),
    torch.tensor([[7.5, 3.5, 190.0, 250.0], [5.0, 5.0, 5.0, 5.0]]),
]


@pytest.mark.parametrize("size", [7, 14])
@pytest.mark.parametrize("channels_last", [False, True])
def test_roi_pool_reads_each_box_from_its_level(size: int, channels_last: bool) -> None:
    config = PoolerConfig(size, method="roi_pool", canonical_scale=80)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    features = [level.contiguous(memory_format=layout) for level in pyramid(2)]
    pooled = pool_regions(features, STRIDES, BOXES, config)
    assert pooled.is_contiguous(memory_format=layout)
    expected, levels = [], set()
    for image, of_image in enumerate(BOXES):
        for box in of_image:
            level = level_plainly(box.tolist(), config.canonical_scale)
            levels.add(level)
            expected.append(roi_pool(features[level][image : image + 1], [box[None]], size, 1 / (4 << level)))
    assert len(levels) > 2
    assert torch.equal(pooled, torch.cat(expected))
    rois = torch.cat([torch.tensor([[0.0], [0], [0], [1], [1]]), torch.cat(BOXES)], dim=1)
    assert torch.equal(pool_regions(features, STRIDES, rois, config), pooled)


def test_roi_pool_teaches_the_level_it_read() -> None:
    features = [level.requires_grad_() for level in pyramid(2)]
    config = PoolerConfig(method="roi_pool", canonical_scale=80)
    pool_regions(features, STRIDES, [BOXES[0][:1], BOXES[1][:0]], config).sum().backward()
    taught = [level.grad is not None and bool(level.grad.any()) for level in features]
    assert taught == [False, False, False, True, False]


def test_roi_pool_of_a_single_map_and_of_no_boxes() -> None:
    config = PoolerConfig(14, method="roi_pool")
    feature = torch.randn(2, 3, 16, 12)
    assert torch.equal(pool_regions([feature], [16], BOXES, config), roi_pool(feature, BOXES, 14, 1 / 16))
    none = [torch.zeros(0, 4), torch.zeros(0, 4)]
    assert pool_regions(pyramid(2), STRIDES, none, config).shape == (0, 3, 14, 14)
    assert pool_regions([feature], [16], none, config).shape == (0, 3, 14, 14)
