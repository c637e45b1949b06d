"""IoU and its variants: known values, bounds and symmetry, gradients, and torchvision."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn.ops import box_convert, box_iou, complete_box_iou, distance_box_iou, generalized_box_iou
from tests.ops.box_cases import DEGENERATE, random_boxes

VARIANTS = [box_iou, generalized_box_iou, distance_box_iou, complete_box_iou]
UNIT = torch.tensor([[0.0, 0, 10, 10]])


def test_known_values() -> None:
    others = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [5, 0, 15, 10], [10, 0, 20, 10], [30, 0, 40, 10]])
    torch.testing.assert_close(box_iou(UNIT, others), torch.tensor([[1, 0.5, 1 / 3, 0, 0]]))
    torch.testing.assert_close(generalized_box_iou(UNIT, others), torch.tensor([[1, 0.5, 1 / 3, 0, -0.5]]))
    distance = torch.tensor([[1, 0.5 - 6.25 / 200, 1 / 3 - 25 / 325, -100 / 500, -900 / 1700]])
    torch.testing.assert_close(distance_box_iou(UNIT, others), distance)
    aspect = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2
    distance[0, 1] -= aspect**2 / (0.5 + aspect)
    torch.testing.assert_close(complete_box_iou(UNIT, others), distance)


@pytest.mark.parametrize("fmt", ["xyxy", "xywh", "cxcywh"])
def test_formats(fmt: str) -> None:
    first, second = random_boxes(7), random_boxes(5)
    given_as = box_iou(box_convert(first, "xyxy", fmt), box_convert(second, "xyxy", fmt), fmt)
    torch.testing.assert_close(given_as, box_iou(first, second), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_batches_and_empty_sets(variant: Callable[[Tensor, Tensor], Tensor]) -> None:
    first, second = random_boxes(12).view(3, 4, 4), random_boxes(15).view(3, 5, 4)
    batched = variant(first, second)
    assert batched.shape == (3, 4, 5)
    assert torch.equal(batched[1], variant(first[1], second[1]))
    assert variant(first[0, :0], second[0]).shape == (0, 5)
    assert variant(first[0], second[0, :0]).shape == (4, 0)


def test_two_boxes_without_area_have_no_iou() -> None:
    points = torch.tensor([[5.0, 5, 5, 5]])
    assert box_iou(points, points).isnan().all()
    assert box_iou(points, UNIT).item() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32])
def test_other_dtypes_are_computed_in_float32(dtype: torch.dtype) -> None:
    first, second = random_boxes(6).to(dtype), random_boxes(6).to(dtype)
    for variant in VARIANTS:
        got = variant(first, second)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, variant(first.float(), second.float()), equal_nan=True)


side = st.floats(0.5, 1e3, width=32)
corner = st.floats(-1e3, 1e3, width=32)
boxes_strategy = st.lists(st.tuples(corner, corner, side, side), min_size=1, max_size=6).map(
    lambda rows: box_convert(torch.tensor(rows, dtype=torch.float64), "xywh", "xyxy")
)


@given(boxes_strategy, boxes_strategy)
def test_bounds_and_symmetry(first: Tensor, second: Tensor) -> None:
    iou = box_iou(first, second)
    assert ((iou >= 0) & (iou <= 1 + 1e-12)).all()
    torch.testing.assert_close(box_iou(first, first).diagonal(), torch.ones(len(first), dtype=torch.float64))
    for variant in VARIANTS:
        overlap = variant(first, second)
        torch.testing.assert_close(overlap, variant(second, first).T)
        assert (overlap <= iou + 1e-12).all()
        assert (overlap >= (-1 if variant is not complete_box_iou else -2)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients(variant: Callable[[Tensor, Tensor], Tensor]) -> None:
    first = random_boxes(3, size=20, dtype=torch.float64).requires_grad_()
    second = random_boxes(4, size=20, dtype=torch.float64).requires_grad_()
    if variant is complete_box_iou:
        # Its weight is a constant for autograd, so finite differences see another function.
        gradient = torch.autograd.grad(variant(first, second).sum(), (first, second))
        assert all(g.isfinite().all() for g in gradient)
    else:
        assert torch.autograd.gradcheck(variant, (first, second))


@pytest.mark.parametrize("variant", VARIANTS)
def test_compiled(variant: Callable[[Tensor, Tensor], Tensor]) -> None:
    first, second = random_boxes(4), random_boxes(3)
    compiled = torch.compile(variant, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(first, second), variant(first, second))


@pytest.mark.parametrize("variant", VARIANTS)
def test_errors(variant: Callable[[Tensor, Tensor], Tensor]) -> None:
    name = variant.__name__
    with pytest.raises(ValueError, match=rf"{name}: boxes1 must be \[..., 4\]; got \[2, 5\]"):
        variant(torch.rand(2, 5), UNIT)
    with pytest.raises(ValueError, match=rf"{name}: boxes2 must be \[..., N, 4\]; got \[4\]"):
        variant(UNIT, UNIT[0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_equals_torchvision(variant: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    peer = getattr(
        pytest.importorskip("torchvision", reason="the peer comparison needs torchvision").ops, variant.__name__
    )
    first, second = random_boxes(40).to(dtype), random_boxes(30).to(dtype)
    if dtype.is_floating_point:
        first = torch.cat([first, torch.tensor(list(DEGENERATE.values()), dtype=dtype)])
    torch.testing.assert_close(variant(first, second), peer(first, second), rtol=0, atol=0, equal_nan=True)
    if dtype.is_floating_point:
        leaves = [boxes[:30].clone().requires_grad_() for boxes in (first, second)]
        ours = torch.autograd.grad(variant(*leaves).sum(), leaves)
        theirs = torch.autograd.grad(peer(*leaves).sum(), leaves)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("fmt", ["xywh", "cxcywh"])
def test_formats_equal_torchvision(fmt: str) -> None:
    peer = pytest.importorskip("torchvision", reason="the peer comparison needs torchvision").ops
    first, second = random_boxes(40), random_boxes(30)
    assert torch.equal(box_iou(first, second, fmt), peer.box_iou(first, second, fmt))
