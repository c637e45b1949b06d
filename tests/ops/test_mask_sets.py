"""Joining, padding, uniting and subtracting masks: each against the same of their bitmaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastmrcnn.ops import (
    InstanceMasks,
    concatenate_masks,
    number_pixels,
    pad_masks,
    replace_masks,
    subtract_mask,
    unite_masks,
)
from tests.ops.segmentation_cases import random_segmentations


def random_masks(rng: np.random.Generator, count: int, height: int, width: int) -> InstanceMasks:
    """Polygons and run lengths in turn, across the borders of the image too."""
    return InstanceMasks.from_coco(random_segmentations(rng, count, height, width), height, width)


@pytest.mark.parametrize("seed", range(8))
def test_sets_of_masks_equal_those_of_the_bitmaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    masks, others = random_masks(rng, 7, height, width), random_masks(rng, 3, height, width)
    bitmaps, removed = masks.to_bitmaps(), others.to_bitmaps()
    assert torch.equal(concatenate_masks([masks, others]).to_bitmaps(), torch.cat([bitmaps, removed]))
    assert torch.equal(unite_masks(masks).to_bitmaps(), bitmaps.any(dim=0, keepdim=True))
    left = subtract_mask(masks, unite_masks(others))
    assert torch.equal(left.to_bitmaps(), bitmaps & ~removed.any(dim=0))
    assert torch.equal(subtract_mask(masks, unite_masks(masks)).areas(), torch.zeros(7))
    chosen = torch.tensor([False, True, True, False, False, True, False])
    expected = bitmaps.clone()
    expected[chosen] = removed
    assert torch.equal(replace_masks(masks, chosen, others).to_bitmaps(), expected)


@pytest.mark.parametrize("seed", range(8))
def test_padding_surrounds_the_bitmaps_with_zeros(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    masks = random_masks(rng, 6, height, width)
    top, left, bottom, right = (int(side) for side in rng.integers(0, 9, 4))
    padded = pad_masks(masks, top, left, bottom, right)
    expected = torch.nn.functional.pad(masks.to_bitmaps(), (left, right, top, bottom))
    assert torch.equal(padded.to_bitmaps(), expected)


def test_what_cropping_cut_off_a_polygon_stays_off() -> None:
    polygons = [[[2, 2, 18, 2, 18, 8, 2, 8]], [[4, 4, 8, 4, 8, 6, 4, 6]]]
    cropped = InstanceMasks.from_coco(polygons, 10, 20).crop(3, 3, 7, 10)
    padded = pad_masks(cropped, 3, 3, 0, 7)
    assert padded.boxes().tolist() == [[3, 3, 13, 8], [4, 4, 8, 6]]
    assert len(padded.points) == 4  # the polygon that lies inside is still one


def test_no_masks_unite_to_an_empty_one() -> None:
    none = InstanceMasks.from_coco([], 4, 5)
    assert unite_masks(none).areas().tolist() == [0]
    assert len(subtract_mask(none, unite_masks(none))) == len(pad_masks(none, 1, 1, 1, 1)) == 0


def test_numbers_that_a_dtype_does_not_hold() -> None:
    masks = InstanceMasks.from_bitmaps(torch.ones(200, 1, 1), 1, 1)
    for dtype in (torch.int8, torch.float32):
        with pytest.raises(ValueError, match=f"^number_pixels: dtype must hold whole numbers up to 200; got {dtype}$"):
            number_pixels(masks, torch.arange(200), dtype)


def test_errors() -> None:
    masks = InstanceMasks.from_coco([[[0, 0, 2, 0, 2, 3]]], 4, 5)
    with pytest.raises(ValueError, match=r"^concatenate_masks: expected masks of one image size; got \[\(4, 5\), \(5"):
        concatenate_masks([masks, pad_masks(masks, 1, 0, 0, 0)])
    with pytest.raises(ValueError, match=r"^concatenate_masks: expected masks of one image size; got \[\]$"):
        concatenate_masks([])
    with pytest.raises(ValueError, match=r"^pad_masks: padding must not be negative; got \[0, -1, 0, 0\]$"):
        pad_masks(masks, 0, -1, 0, 0)
    with pytest.raises(ValueError, match=r"^subtract_mask: expected one mask to remove, \[1, 4, 5\]; got \[2, 4, 5\]$"):
        subtract_mask(masks, concatenate_masks([masks, masks]))
    with pytest.raises(ValueError, match=r"^replace_masks: .*; got 1 for 0 of 1 choices among 1 objects$"):
        replace_masks(masks, torch.tensor([False]), masks)


@pytest.mark.parametrize("seed", range(8))
def test_pixels_have_the_number_of_the_first_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    masks = random_masks(rng, 6, height, width)
    order = torch.from_numpy(rng.permutation(6)[:5])
    expected = torch.zeros(height, width, dtype=torch.int32)
    for index in reversed(order.tolist()):
        expected[masks.to_bitmaps()[index]] = index + 1
    assert torch.equal(number_pixels(masks, order), expected)
    small = number_pixels(masks, order, torch.uint8)
    assert small.dtype == torch.uint8
    assert torch.equal(small, expected.to(torch.uint8))
    assert not number_pixels(masks, order[:0]).any()
