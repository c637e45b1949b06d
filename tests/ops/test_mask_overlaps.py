"""Overlaps of masks: each against the same of their bitmaps, for random polygons and run lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fastmrcnn.ops._runs as runs_module
from fastmrcnn.ops import (
    InstanceMasks,
    areas_within,
    box_iou,
    mask_intersections,
    mask_nms,
    overlapping_pairs,
    unite_masks,
)
from tests.ops.segmentation_cases import random_segmentations


def random_masks(rng: np.random.Generator, count: int) -> InstanceMasks:
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    return InstanceMasks.from_coco(random_segmentations(rng, count, height, width), height, width)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("at_once", [1, 2**22])
def test_overlaps_equal_those_of_the_bitmaps(seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "_RUNS_AT_ONCE", at_once)
    rng = np.random.default_rng(seed)
    masks = random_masks(rng, 9)
    bitmaps = masks.to_bitmaps()
    pairs = torch.from_numpy(rng.integers(0, 9, (60, 2)))
    expected = (bitmaps[pairs[:, 0]] & bitmaps[pairs[:, 1]]).sum(dim=(1, 2))
    assert torch.equal(mask_intersections(masks, pairs), expected)
    corners = torch.from_numpy(np.sort(rng.integers(-5, 45, (30, 2, 2)), axis=1).reshape(30, 4))
    chosen = torch.from_numpy(rng.integers(0, 9, 30))
    inside = [
        bitmaps[index, max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)].sum()
        for index, (x1, y1, x2, y2) in zip(chosen.tolist(), corners.tolist(), strict=True)
    ]
    assert torch.equal(areas_within(masks, chosen, corners), torch.stack(inside))


@pytest.mark.parametrize("seed", range(4))
def test_unions_of_groups_equal_those_of_the_bitmaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = random_masks(rng, 12)
    groups = torch.from_numpy(rng.integers(0, 5, 12))
    united = unite_masks(masks, groups, 6)
    bitmaps = masks.to_bitmaps()
    expected = torch.stack([bitmaps[groups == group].any(dim=0) for group in range(6)])
    assert torch.equal(united.to_bitmaps(), expected)
    assert united.areas()[5] == 0


@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_those_of_the_whole_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-100, 400, (80, 2))
    sides = rng.exponential(30, (80, 2)) * rng.choice([0, 1, 10], (80, 1), p=[0.1, 0.8, 0.1])
    boxes = torch.from_numpy(np.concatenate([corner, corner + sides], axis=1))
    boxes[3] = torch.nan
    boxes[4, 2] = torch.inf
    boxes[5] = boxes[6]
    whole = torch.where(torch.isfinite(boxes).all(dim=1, keepdim=True), boxes, 0)
    expected = torch.triu(box_iou(whole, whole) > 0, diagonal=1).nonzero()
    assert torch.equal(overlapping_pairs(boxes), expected)


def test_pairs_of_many_boxes_take_no_matrix() -> None:
    """Of 100,000 boxes beside each other every one has its few neighbours; the matrix would have 10^10 entries."""
    across = torch.arange(100_000.0)
    boxes = torch.stack([across * 10, torch.zeros_like(across), across * 10 + 12, torch.ones_like(across)], dim=1)
    pairs = overlapping_pairs(boxes)
    assert torch.equal(pairs[:, 0], torch.arange(99_999))
    assert torch.equal(pairs[:, 1], pairs[:, 0] + 1)


def test_nothing_overlaps_nothing() -> None:
    none = InstanceMasks.from_coco([], 4, 5)
    assert overlapping_pairs(torch.empty(0, 4)).shape == (0, 2)
    assert mask_intersections(none, torch.empty((0, 2), dtype=torch.int64)).shape == (0,)
    assert areas_within(none, torch.empty(0, dtype=torch.int64), torch.empty((0, 4), dtype=torch.int64)).shape == (0,)
    empty = InstanceMasks.from_coco([{"size": [4, 5], "counts": [20]}], 4, 5)
    assert mask_intersections(empty, torch.tensor([[0, 0]])).tolist() == [0]
    with pytest.raises(ValueError, match=r"^unite_masks: groups must be \[1\], each in 0..1; got \[1\] up to 2$"):
        unite_masks(empty, torch.tensor([2]), 2)


@pytest.mark.parametrize("seed", range(4))
def test_nms_of_masks_equals_that_of_the_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = InstanceMasks.from_coco(random_segmentations(rng, 40, 24, 30), 24, 30)
    scores = torch.from_numpy(rng.integers(0, 9, 40) / 8)
    classes = torch.from_numpy(rng.integers(0, 2, 40))
    flat = masks.to_bitmaps().flatten(1).double()
    shared = flat @ flat.T
    iou = shared / (flat.sum(dim=1)[:, None] + flat.sum(dim=1) - shared)
    for idxs in (None, classes):
        expected: list[int] = []
        for index in scores.argsort(descending=True, stable=True).tolist():
            rivals = [other for other in expected if idxs is None or idxs[other] == idxs[index]]
            if not any(iou[index, other] > 0.3 for other in rivals):
                expected.append(index)
        assert mask_nms(masks, scores, 0.3, idxs).tolist() == expected
        assert len(expected) < 40


def test_nms_of_masks_at_its_limits() -> None:
    squares = InstanceMasks.from_coco([[[0, 0, 2, 0, 2, 2, 0, 2]], [[0, 0, 4, 0, 4, 2, 0, 2]]], 4, 4)
    assert mask_nms(squares, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0, 1]  # the IoU is 0.5, no more
    assert mask_nms(squares, torch.tensor([0.9, 0.8]), 0.49).tolist() == [0]
    assert mask_nms(squares[:0], torch.empty(0), 0.5).tolist() == []
    with pytest.raises(ValueError, match=r"^mask_nms: scores must be \[2\]; got \[3\]$"):
        mask_nms(squares, torch.zeros(3), 0.5)
    with pytest.raises(ValueError, match=r"^mask_nms: idxs must be \[2\]; got \[1\]$"):
        mask_nms(squares, torch.zeros(2), 0.5, torch.zeros(1))
