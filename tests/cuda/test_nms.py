"""nms and batched_nms on CUDA: the CPU's indices, exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import batched_nms, nms
from tests.cuda.run import TestDevice
from tests.ops.box_cases import DEGENERATE, INF, NAN, clustered_boxes, random_boxes
from tests.ops.nms_references import reference_nms, tied_scores

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make_scores", [torch.rand, tied_scores], ids=["random", "tied"])
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 130])
def test_equals_the_reference(
    n: int, make_scores: Callable[[int], Tensor], dtype: torch.dtype, device: TestDevice
) -> None:
    boxes, scores = clustered_boxes(n, max(n // 4, 1), dtype=dtype), make_scores(n).to(dtype)
    assert device.run(nms, boxes, scores, 0.5).tolist() == reference_nms(boxes, scores, 0.5)
    groups = torch.randint(-2, 3, (n,))
    found = device.run(batched_nms, boxes, scores, groups, 0.3)
    assert found.tolist() == reference_nms(boxes, scores, 0.3, groups)


@pytest.mark.parametrize("clusters", [5, 60, 2000])
@pytest.mark.parametrize("n", [300, 1000])
def test_more_boxes_equal_the_cpu(n: int, clusters: int, device: TestDevice) -> None:
    boxes, scores = clustered_boxes(n, clusters), torch.rand(n)
    assert torch.equal(device.run(nms, boxes, scores, 0.5), nms(boxes, scores, 0.5))


@pytest.mark.parametrize("groups", [1, 2])
def test_more_boxes_than_a_band(groups: int, device: TestDevice) -> None:
    """The overlaps reach back over at most 4,096 boxes."""
    boxes, scores = clustered_boxes(4300, 20, jitter=1.5), torch.rand(4300)
    ids = (torch.rand(4300) < 0.02).long() * (groups - 1)
    found = device.run(batched_nms, boxes, scores, ids, 0.7)
    assert torch.equal(found, batched_nms(boxes, scores, ids, 0.7))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.0, 0.25, 1 / 3, 0.5, 1.0, 1.5, INF, NAN, -1e-9, -1.0, -INF])
def test_whole_coordinates_meet_the_threshold(threshold: float, dtype: torch.dtype, device: TestDevice) -> None:
    boxes, scores = clustered_boxes(90, 15, dtype=dtype).round(), torch.rand(90, dtype=dtype)
    assert torch.equal(device.run(nms, boxes, scores, threshold), nms(boxes, scores, threshold))


def test_the_threshold_is_not_rounded_to_single_precision(device: TestDevice) -> None:
    boxes, scores = torch.tensor([[0.0, 0, 10, 1], [0, 0, 1, 1]]), torch.tensor([0.9, 0.8])  # IoU float32(0.1) > 0.1
    assert device.run(nms, boxes, scores, 0.1).tolist() == [0]
    assert device.run(nms, boxes, scores, float(torch.tensor(0.1))).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.5, 0.0, -0.5])
def test_degenerate_boxes(threshold: float, dtype: torch.dtype, device: TestDevice) -> None:
    odd = torch.tensor([*DEGENERATE.values()], dtype=dtype)
    boxes = torch.cat([odd, random_boxes(40, dtype=dtype), odd, odd.flip(0)])
    scores = torch.rand(len(boxes), dtype=dtype)
    assert device.run(nms, boxes, scores, threshold).tolist() == reference_nms(boxes, scores, threshold)


@pytest.mark.parametrize("scale", [1e-24, 3e-23, 1e-22, 1e-20, 1e17, 1e18, 1e19, 1e37])
def test_areas_that_underflow_or_overflow(scale: float, device: TestDevice) -> None:
    boxes, scores = (clustered_boxes(70, 10, dtype=torch.float64).round() * scale).float(), torch.rand(70)
    for threshold in (0.0, 0.5):
        assert torch.equal(device.run(nms, boxes, scores, threshold), nms(boxes, scores, threshold))


def test_odd_scores(device: TestDevice) -> None:
    apart = torch.arange(70.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    scores = torch.tensor([0.5, NAN, INF, -INF, 0.0, -0.0, -1.0]).repeat(10)
    scores[8] = -torch.tensor(NAN)
    assert torch.equal(device.run(nms, apart, scores, 0.5), nms(apart, scores, 0.5))
    assert torch.equal(device.run(nms, apart.double(), scores.double(), 0.5), nms(apart, scores, 0.5))


@pytest.mark.parametrize(("n", "groups"), [(200, 1), (200, 4), (200, 80), (200, 1000), (1000, 7)])
def test_groups_of_any_number_and_size(n: int, groups: int, device: TestDevice) -> None:
    boxes, scores = clustered_boxes(n, 10), tied_scores(n)
    ids = (torch.rand(n) ** 2 * groups).long() * 2**50 - 2**58
    assert torch.equal(device.run(batched_nms, boxes, scores, ids, 0.5), batched_nms(boxes, scores, ids, 0.5))


def test_a_chain_of_overlaps_is_resolved_box_by_box(device: TestDevice) -> None:
    """Each box overlaps its neighbours alone: every second one is kept, which the first decides for all."""
    steps = torch.arange(200.0)[:, None] * torch.tensor([4.0, 0, 4, 0]) + torch.tensor([0.0, 0, 10, 10])
    scores = torch.linspace(1, 0, 200)
    assert device.run(nms, steps, scores, 0.4).tolist() == list(range(0, 200, 2))
    assert device.run(nms, steps, scores, 0.1).tolist() == list(range(0, 200, 3))


def test_a_workspace_that_is_too_small_is_refused(device: TestDevice) -> None:
    boxes, scores, keep, count = random_boxes(3), torch.rand(3), torch.empty(3).long(), torch.empty(1).long()
    with pytest.raises(ValueError, match=r"nms: workspace must have \d+ bytes; got 8"):
        device.native("nms", boxes, scores, None, 0.5, keep, count, torch.empty(8, dtype=torch.uint8))
