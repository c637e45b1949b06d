"""soft_nms on CUDA: the CPU's selection and scores, to the bit in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import soft_nms
from tests.cuda.run import TestDevice
from tests.ops.box_cases import DEGENERATE, INF, NAN, clustered_boxes, random_boxes
from tests.ops.nms_references import tied_scores

METHODS = ["gaussian", "linear"]


def assert_same(device: TestDevice, boxes: Tensor, scores: Tensor, **options: Any) -> None:
    keep, decayed = device.run(soft_nms, boxes, scores, **options)
    expected_keep, expected = soft_nms(boxes, scores, **options)
    assert torch.equal(keep, expected_keep)
    # In float64 the exponentials are of two libraries.
    torch.testing.assert_close(decayed, expected, rtol=0 if boxes.dtype == torch.float32 else 1e-13, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [0, 1, 63, 65, 130])
def test_equals_the_cpu(n: int, method: str, dtype: torch.dtype, device: TestDevice) -> None:
    boxes, scores = clustered_boxes(n, max(n // 4, 1), dtype=dtype), torch.rand(n, dtype=dtype)
    assert_same(device, boxes, scores, method=method)
    groups = torch.randint(-2, 3, (n,)) * 2**40
    options = {"sigma": 0.3, "iou_threshold": 0.5, "score_threshold": 0.05}
    assert_same(device, boxes, scores, method=method, idxs=groups, **options)


@pytest.mark.parametrize("groups", [1, 40])
def test_more_boxes_than_threads(groups: int, device: TestDevice) -> None:
    boxes, scores = clustered_boxes(600, 100), torch.rand(600)
    ids = torch.where(torch.rand(600) < 0.1, torch.randint(groups, (600,)), 0)
    assert_same(device, boxes, scores, idxs=ids, score_threshold=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_ties_and_degenerate_boxes(method: str, device: TestDevice) -> None:
    odd = torch.tensor([*DEGENERATE.values()])
    boxes = torch.cat([odd, random_boxes(30), odd])
    assert_same(device, boxes, tied_scores(len(boxes)), method=method, score_threshold=0)


@pytest.mark.parametrize("method", METHODS)
def test_odd_scores(method: str, device: TestDevice) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(7, 1)
    scores = torch.tensor([0.5, NAN, INF, -INF, -0.5, -0.0, 0.0])
    assert_same(device, boxes, scores, method=method, iou_threshold=1, score_threshold=0)


def test_nothing_is_selected(device: TestDevice) -> None:
    assert_same(device, random_boxes(70), torch.full((70,), 0.1), score_threshold=0.5)


def test_the_linear_threshold_itself_does_not_decay(device: TestDevice) -> None:
    halves, scores = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]]), torch.tensor([0.9, 0.8])  # IoU exactly 0.5
    for threshold in (0.5, 0.4999):
        assert_same(device, halves, scores, method="linear", iou_threshold=threshold)
