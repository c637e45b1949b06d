"""decode_keypoints on CUDA: the CPU's points and logits to the bit, probabilities up to the order of a sum."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import decode_keypoints
from tests.cuda.run import TestDevice
from tests.ops.box_cases import DEGENERATE, random_boxes
from tests.ops.keypoint_cases import noise_maps, peaked_maps


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found[..., :3], expected[..., :3], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(found[..., 3], expected[..., 3], rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("maps", [noise_maps, peaked_maps])
@pytest.mark.parametrize("size", [(56, 56), (5, 3), (1, 1)])
def test_equals_the_cpu(
    maps: Callable[..., Tensor], size: tuple[int, int], dtype: torch.dtype, device: TestDevice
) -> None:
    heatmaps, boxes = maps(3, 2, *size, dtype), random_boxes(3, 90.0, 45.0)
    assert_same(device.run(decode_keypoints, heatmaps, boxes), decode_keypoints(heatmaps, boxes))


def test_flat_heatmaps_take_the_cpus_point(device: TestDevice) -> None:
    heatmaps, boxes = torch.full((2, 2, 6, 6), 0.3), torch.tensor([[0.0, 0, 37, 41], [5, 5, 7, 38]])
    assert_same(device.run(decode_keypoints, heatmaps, boxes), decode_keypoints(heatmaps, boxes))


def test_degenerate_boxes(device: TestDevice) -> None:
    small = [box for name, box in DEGENERATE.items() if name not in ("huge", "everywhere")]
    boxes = torch.tensor([*small, [-1e9, 3, 1e9, 5]])
    heatmaps = peaked_maps(len(boxes), 1, 4, 4)
    assert_same(device.run(decode_keypoints, heatmaps, boxes), decode_keypoints(heatmaps, boxes))


def test_nan_is_never_the_highest(device: TestDevice) -> None:
    heatmaps, boxes = peaked_maps(2, 2, 9, 9), torch.tensor([[0.0, 0, 9, 9], [0, 0, 20, 7]])
    heatmaps[0, :, 0, 0] = math.nan
    heatmaps[1, 1] = math.nan
    found = device.run(decode_keypoints, heatmaps, boxes)
    assert found[1, 1].isnan().all()
    assert found[0, :, :3].isfinite().all()
    assert_same(found, decode_keypoints(heatmaps, boxes))


def test_nothing_in_nothing_out(device: TestDevice) -> None:
    assert device.run(decode_keypoints, torch.zeros(0, 17, 8, 8), torch.zeros(0, 4)).shape == (0, 17, 4)
