"""Level assignment and pooling over the pyramid."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastmrcnn.models import RoIAlignConfig
from fastmrcnn.models.pooling import assign_levels, pool_pyramid
from fastmrcnn.ops import roi_align


def level_plainly(box: list[float], scale: float) -> int:
    side = math.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 0))
    level = -math.inf if side == 0 else math.floor(4 + math.log2(side / scale) + 1e-6)
    return int(min(max(level, 2), 5)) - 2


@pytest.mark.parametrize("scale", [112.0, 224.0])
def test_levels_equal_a_plain_loop(scale: float) -> None:
    corner = torch.rand(300, 2) * 400
    boxes = torch.cat((corner, corner + 10 ** (torch.rand(300, 2) * 3)), dim=1)
    exact = [[0.0, 0.0, side, side] for side in (56.0, 112.0, 224.0, 448.0, 896.0)]  # on the boundaries
    degenerate = [[5.0, 5.0, 5.0, 9.0], [9.0, 9.0, 5.0, 12.0]]
    boxes = torch.cat((boxes, torch.tensor(exact + degenerate)))
    levels = assign_levels(boxes, RoIAlignConfig(canonical_scale=scale))
    assert levels.tolist() == [level_plainly(box, scale) for box in boxes.tolist()]


def pyramid(images: int) -> list[Tensor]:
    return [torch.randn(images, 3, 256 // stride, 192 // stride) for stride in (4, 8, 16, 32, 64)]


@pytest.mark.parametrize("config", [RoIAlignConfig(), RoIAlignConfig(14, sampling_ratio=2, aligned=False)])
def test_each_box_is_pooled_from_its_level(config: RoIAlignConfig) -> None:
    features = pyramid(2)
    boxes = [
        torch.tensor([[0.0, 0.0, 250.0, 180.0], [3.0, 4.0, 20.0, 30.0], [10.0, 10.0, 150.0, 120.0]]),
        torch.tensor([[7.5, 3.5, 190.0, 250.0]]),
    ]
    pooled = pool_pyramid(features, boxes, config)
    assert pooled.shape == (4, 3, config.output_size, config.output_size)
    row = 0
    for image, of_image in enumerate(boxes):
        for box in of_image:
            level = level_plainly(box.tolist(), 224)
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
    assert pool_pyramid(features, [torch.zeros(0, 4), torch.zeros(0, 4)], RoIAlignConfig()).shape == (0, 3, 7, 7)


def test_levels_equal_torchvisions() -> None:
    poolers = pytest.importorskip("torchvision.ops.poolers", reason="torchvision is the peer")
    corner = torch.rand(2000, 2) * 400
    boxes = torch.cat((corner, corner + 10 ** (torch.rand(2000, 2) * 3)), dim=1)
    assert torch.equal(assign_levels(boxes, RoIAlignConfig()), poolers.LevelMapper(2, 5)([boxes]))
