"""The box utilities: small exact cases, degenerate boxes, gradients, and torchvision on random ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn.ops import box_area, box_convert, clip_boxes_to_image, masks_to_boxes, remove_small_boxes
from tests.ops.box_cases import DEGENERATE, NAN, random_boxes

FORMATS = ["xyxy", "xywh", "cxcywh"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64]


def odd_boxes(dtype: torch.dtype) -> Tensor:
    return torch.tensor(list(DEGENERATE.values())).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_area(dtype: torch.dtype) -> None:
    boxes = torch.tensor([[1, 2, 11, 7], [5, 5, 5, 9], [10, 0, 0, 10]], dtype=dtype)
    assert box_area(boxes).tolist() == [50, 0, -100]
    assert box_area(boxes, "xywh").tolist() == [77, 45, 0]
    assert box_area(boxes, "cxcywh").tolist() == [77, 45, 0]


def test_area_does_not_overflow_half_precision() -> None:
    area = box_area(torch.tensor([[0, 0, 1000, 1000]], dtype=torch.float16))
    assert area.dtype == torch.float32
    assert area.item() == 1e6


@pytest.mark.parametrize("in_fmt", FORMATS)
@pytest.mark.parametrize("out_fmt", FORMATS)
def test_convert_is_what_it_says_and_comes_back(in_fmt: str, out_fmt: str) -> None:
    same = {"xyxy": [10.0, 20, 30, 60], "xywh": [10.0, 20, 20, 40], "cxcywh": [20.0, 40, 20, 40]}
    boxes = torch.tensor([[same[in_fmt]]])
    converted = box_convert(boxes, in_fmt, out_fmt)
    assert converted.tolist() == [[same[out_fmt]]]
    assert converted.data_ptr() != boxes.data_ptr()
    assert torch.equal(box_convert(converted, out_fmt, in_fmt), boxes)


def test_clip() -> None:
    boxes = torch.tensor([[-5.0, -5, 50, 50], [3, 4, 5, 6], [40, 5, 60, NAN]])
    clipped = clip_boxes_to_image(boxes, (20, 30))
    assert clipped[:2].tolist() == [[0, 0, 30, 20], [3, 4, 5, 6]]
    assert clipped[2, :3].tolist() == [30, 5, 30]
    assert clipped[2, 3].isnan()
    assert clip_boxes_to_image(boxes[:, None], (20, 30)).shape == (3, 1, 4)


def test_remove_small() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1.9, 5], [0, 0, 5, 1], [0, 0, NAN, 5], [5, 5, 1, 1], [0, 0, 9, 9]])
    assert remove_small_boxes(boxes, 2).tolist() == [0, 5]
    assert remove_small_boxes(boxes[:0], 2).tolist() == []


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float16])
def test_masks_to_boxes(dtype: torch.dtype) -> None:
    masks = torch.zeros(5, 6, 7, dtype=dtype)
    masks[1, 2, 3] = 1  # one pixel
    masks[2, 0, 6] = masks[2, 5, 0] = 1  # two corners
    masks[3] = 1
    masks[4, 1:3, 4] = 1
    boxes = masks_to_boxes(masks)
    assert boxes.dtype == torch.float32
    assert boxes.tolist() == [[0, 0, 0, 0], [3, 2, 3, 2], [0, 0, 6, 5], [0, 0, 6, 5], [4, 1, 4, 2]]
    assert torch.equal(masks_to_boxes(masks.transpose(1, 2)), boxes[:, [1, 0, 3, 2]])


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 0, 5), (3, 5, 0), (0, 0, 0)])
def test_masks_without_pixels_keep_their_rows(shape: tuple[int, int, int]) -> None:
    assert torch.equal(masks_to_boxes(torch.zeros(shape)), torch.zeros(shape[0], 4))


def test_a_negative_or_nan_pixel_belongs_to_the_mask() -> None:
    masks = torch.zeros(2, 3, 3)
    masks[0, 1, 2], masks[1, 2, 0] = -1, NAN
    assert masks_to_boxes(masks).tolist() == [[2, 1, 2, 1], [0, 2, 0, 2]]


coordinate = st.floats(-1e4, 1e4, width=32)


@given(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=5))
def test_clipped_boxes_lie_in_the_image(rows: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor(rows).reshape(-1, 4)
    clipped = clip_boxes_to_image(boxes, (30, 40))
    assert ((clipped >= 0) & (clipped <= torch.tensor([40.0, 30, 40, 30]))).all()
    assert torch.equal(clip_boxes_to_image(clipped, (30, 40)), clipped)


def test_gradients() -> None:
    boxes = random_boxes(5, dtype=torch.float64).requires_grad_()
    for fmt in FORMATS:
        assert torch.autograd.gradcheck(lambda b, fmt=fmt: box_area(b, fmt), boxes)
        assert torch.autograd.gradcheck(lambda b, fmt=fmt: box_convert(b, fmt, "cxcywh"), boxes)
        assert torch.autograd.gradcheck(lambda b, fmt=fmt: box_convert(b, "xywh", fmt), boxes)
    assert torch.autograd.gradcheck(lambda b: clip_boxes_to_image(b, (60, 60)), boxes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box_area(torch.rand(3, 5)), r"box_area: boxes must be \[..., 4\]; got \[3, 5\]"),
        (lambda: box_area(torch.rand(3, 4), "yxyx"), "box_area: fmt must be one of xyxy, xywh, cxcywh; got 'yxyx'"),
        (lambda: box_convert(torch.rand(3, 4), "xyxy", "x"), "box_convert: out_fmt must be one of .*; got 'x'"),
        (lambda: box_convert(torch.rand(3, 4), "x", "xyxy"), "box_convert: in_fmt must be one of .*; got 'x'"),
        (lambda: clip_boxes_to_image(torch.tensor(1.0), (1, 1)), r"clip_boxes_to_image: boxes must .*; got \[\]"),
        (lambda: remove_small_boxes(torch.rand(3), 1), r"remove_small_boxes: boxes must .*; got \[3\]"),
        (lambda: masks_to_boxes(torch.rand(3, 3)), r"masks_to_boxes: masks must be \[N, H, W\]; got \[3, 3\]"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_compiled() -> None:
    def everything(boxes: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        return (
            box_area(boxes),
            box_convert(boxes, "xyxy", "xywh"),
            clip_boxes_to_image(boxes, (9, 9)),
            masks_to_boxes(masks),
        )

    arguments = random_boxes(4), torch.rand(2, 5, 5) > 0.5
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")(*arguments)
    for got, expected in zip(compiled, everything(*arguments), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int64])
def test_equals_torchvision(dtype: torch.dtype) -> None:
    peer = pytest.importorskip("torchvision", reason="the peer comparison needs torchvision").ops
    boxes = (
        torch.cat([random_boxes(50).to(dtype), odd_boxes(dtype)])
        if dtype.is_floating_point
        else random_boxes(50).to(dtype)
    )

    def same(got: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)

    same(clip_boxes_to_image(boxes, (50, 60)), peer.clip_boxes_to_image(boxes, (50, 60)))
    same(remove_small_boxes(boxes, 5), peer.remove_small_boxes(boxes, 5))
    for fmt in FORMATS:
        same(box_area(boxes, fmt), peer.box_area(boxes, fmt))
        for out in FORMATS:
            same(box_convert(boxes, fmt, out), peer.box_convert(boxes, fmt, out))
    masks = torch.rand(20, 30, 40) > 0.998
    same(masks_to_boxes(masks), peer.masks_to_boxes(masks))
