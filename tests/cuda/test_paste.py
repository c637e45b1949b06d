"""paste_masks and paste_masks_rle on CUDA: the CPU's pixels and strings, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import paste_masks, paste_masks_rle
from fastmrcnn.ops.paste import _fuses_position
from tests.cuda.run import TestDevice
from tests.ops.box_cases import DEGENERATE, INF, NAN, random_boxes
from tests.ops.mask_cases import KINDS, plain_rle, random_masks

METHODS = ["exact", "torchvision"]
DTYPES = [torch.float32, torch.float64]


def some_boxes(n: int, size: int = 60) -> Tensor:
    """Boxes inside, across the border, larger than the image, thin and tiny."""
    boxes = random_boxes(n, size=size, longest=2 * size) - size / 4
    boxes[1::4] = boxes[1::4].round()
    boxes[2::4, 2:] = boxes[2::4, :2] + 0.4
    boxes[3::4] = torch.tensor([-3.0, -3, 300, 300])
    return boxes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 28, 33])
@pytest.mark.parametrize("image", [(40, 67), (37, 64), (3, 5), (1, 1), (200, 3)])
def test_equals_the_cpu(image: tuple[int, int], size: int, dtype: torch.dtype, method: str, device: TestDevice) -> None:
    masks, boxes = random_masks("smooth", 5, size, dtype), some_boxes(5)
    found = device.run(paste_masks, masks, boxes, image, method=method)
    assert torch.equal(found, paste_masks(masks, boxes, image, method=method))
    encoded = device.run(paste_masks_rle, masks, boxes, image, method=method)
    assert encoded == [{"size": list(image), "counts": plain_rle(bitmap)} for bitmap in found.numpy()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_at_the_threshold(kind: str, method: str, device: TestDevice) -> None:
    """Cells of a few values in boxes of whole pixels, so that many pixels lie exactly at it."""
    masks = (random_masks(kind, 3, 4) * 4).round() / 4
    boxes = torch.tensor([[2.0, 3, 18, 19], [0, 0, 32, 8], [-4, 5, 4, 37]])
    for threshold in (0.25, 0.5, 0.625, 1.0):
        arguments = (masks, boxes, (31, 37))
        found = device.run(paste_masks, *arguments, threshold=threshold, method=method)
        assert torch.equal(found, paste_masks(*arguments, threshold=threshold, method=method))
        encoded = device.run(paste_masks_rle, *arguments, threshold=threshold, method=method)
        assert encoded == paste_masks_rle(*arguments, threshold=threshold, method=method)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("mask_dtype", DTYPES)
@pytest.mark.parametrize("box_dtype", DTYPES)
def test_dtypes_and_both_roundings_of_positions(
    box_dtype: torch.dtype, mask_dtype: torch.dtype, fused: bool, device: TestDevice
) -> None:
    from fastmrcnn.ops._library import context, native

    masks, boxes = random_masks("noise", 3, 9, mask_dtype), some_boxes(3).to(box_dtype)
    found, expected = torch.ones(3, 150, 131, dtype=torch.bool), torch.zeros(3, 150, 131, dtype=torch.bool)
    device.native("paste_masks", masks, boxes, "torchvision", fused, 0.5, found)
    native.paste_masks(context(masks), masks, boxes, "torchvision", fused, 0.5, expected)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_boxes(method: str, device: TestDevice) -> None:
    boxes = torch.tensor([*DEGENERATE.values()])
    masks, image = torch.ones(len(boxes), 28, 28), (20, 45)
    found = device.run(paste_masks, masks, boxes, image, method=method)
    expected = paste_masks(masks, boxes, image, method=method)
    assert dict(zip(DEGENERATE, (found == expected).flatten(1).all(dim=1).tolist(), strict=True)) == dict.fromkeys(
        DEGENERATE, True
    )
    encoded = device.run(paste_masks_rle, masks, boxes, image, method=method)
    assert encoded == paste_masks_rle(masks, boxes, image, method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_odd_mask_values(value: float, method: str, device: TestDevice) -> None:
    masks, boxes = random_masks("smooth", 1, 7), torch.tensor([[3.0, 2, 31, 30]])
    masks[0, 3, 3] = value
    masks[0, 0, 6] = value
    arguments = (masks, boxes, (32, 40))
    assert torch.equal(device.run(paste_masks, *arguments, method=method), paste_masks(*arguments, method=method))
    assert device.run(paste_masks_rle, *arguments, method=method) == paste_masks_rle(*arguments, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_paste(method: str, device: TestDevice) -> None:
    nothing = torch.rand(0, 28, 28), torch.rand(0, 4)
    assert device.run(paste_masks, *nothing, (9, 7), method=method).shape == (0, 9, 7)
    assert device.run(paste_masks_rle, *nothing, (9, 7), method=method) == []
    for image in ((0, 5), (5, 0), (0, 0)):
        mask, box = torch.ones(1, 2, 2), torch.tensor([[0.0, 0, 4, 4]])
        assert device.run(paste_masks, mask, box, image, method=method).shape == (1, *image)
        encoded = device.run(paste_masks_rle, mask, box, image, method=method)
        assert encoded == [{"size": list(image), "counts": "0"}]


def test_runs_go_on_from_column_to_column(device: TestDevice) -> None:
    masks = torch.stack([torch.ones(4, 4), torch.zeros(4, 4), torch.tensor([[1.0, 0, 1, 1]]).repeat(4, 1)])
    boxes = torch.tensor([[-100.0, -100, 100, 100]]).repeat(3, 1)
    encoded = device.run(paste_masks_rle, masks, boxes, (5, 70))
    assert encoded == paste_masks_rle(masks, boxes, (5, 70))
    assert encoded[0]["counts"] == plain_rle(np.ones((5, 70), dtype=np.bool_))


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_changes_than_a_batch_holds(dtype: torch.dtype, device: TestDevice) -> None:
    """Noise: more than four changes in a quarter of a column, and a string longer than the first guess."""
    masks, boxes = random_masks("binary", 2, 112, dtype), torch.tensor([[0.0, 0, 9, 150], [0, 0, 9, 0]])
    encoded = device.run(paste_masks_rle, masks, boxes, (150, 9))
    assert len(encoded[0]["counts"]) > 64 + 8 * 9
    assert encoded == paste_masks_rle(masks, boxes, (150, 9))


@pytest.mark.parametrize("rows", [253, 254, 300])
def test_masks_with_more_rows_than_the_table_of_their_pixels(rows: int, device: TestDevice) -> None:
    masks, boxes = random_masks("smooth", 1, rows), torch.tensor([[1.0, 2, 6, 600]])
    assert device.run(paste_masks_rle, masks, boxes, (610, 8)) == paste_masks_rle(masks, boxes, (610, 8))


@pytest.mark.parametrize("method", METHODS)
def test_boxes_with_more_pixels_than_the_table_of_their_taps(method: str, device: TestDevice) -> None:
    masks, boxes = random_masks("noise", 1, 5), torch.tensor([[2.0, 1, 1200, 6]])
    for image, placed in (((7, 1210), boxes), ((1210, 7), boxes[:, [1, 0, 3, 2]])):
        found = device.run(paste_masks, masks, placed, image, method=method)
        assert torch.equal(found, paste_masks(masks, placed, image, method=method))
        encoded = device.run(paste_masks_rle, masks, placed, image, method=method)
        assert encoded == paste_masks_rle(masks, placed, image, method=method)


def test_a_capacity_that_is_too_small_gives_the_length_alone(device: TestDevice) -> None:
    masks, boxes = random_masks("noise", 3, 9), some_boxes(3)
    expected = paste_masks_rle(masks, boxes, (40, 30))
    for capacity in (0, 1, 7):
        strings, lengths = torch.empty(3, capacity, dtype=torch.uint8), torch.empty(3, dtype=torch.int64)
        fused = _fuses_position(masks.dtype)
        device.native("paste_masks_rle", masks, boxes, 40, 30, "exact", fused, 0.5, strings, lengths)
        assert lengths.tolist() == [len(mask["counts"]) for mask in expected]
        begun = [
            bytes(string[: min(capacity, length)].tolist()).decode()
            for string, length in zip(strings, lengths.tolist(), strict=True)
        ]
        assert begun == [mask["counts"][:capacity] for mask in expected]


def test_a_bitmap_that_begins_anywhere(device: TestDevice) -> None:
    """Each mask's bitmap has its own alignment, and the bytes around the output are left alone."""
    masks, boxes = random_masks("smooth", 16, 5), some_boxes(16, 10)
    for image in ((3, 7), (1, 33), (5, 11)):
        assert torch.equal(device.run(paste_masks, masks, boxes, image), paste_masks(masks, boxes, image))


def test_errors(device: TestDevice) -> None:
    masks, boxes = torch.rand(2, 4, 4), torch.rand(2, 4)
    for paste, name in ((paste_masks, "paste_masks"), (paste_masks_rle, "paste_masks_rle")):
        with pytest.raises(ValueError, match=f"{name}: method must be exact, torchvision or skimage; got fast"):
            device.run(paste, masks, boxes, (5, 5), method="fast")
        with pytest.raises(ValueError, match=rf"{name}: boxes must be \[N, 4\] with N that of masks; got \[1, 4\]"):
            device.run(paste, masks, boxes[:1], (5, 5))
