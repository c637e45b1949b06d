"""Polygons of masks: drawn again they are the masks, and they are simple, oriented and as large."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fastmrcnn.ops import InstanceMasks, MaskPolygon, join_rings, mask_polygons
from tests.ops.mask_cases import plain_rle

SIDES = st.tuples(st.integers(1, 3), st.integers(1, 14), st.integers(1, 14))


def of_bitmaps(bitmaps: NDArray[np.bool_]) -> InstanceMasks:
    _, height, width = bitmaps.shape
    encoded = [{"size": [height, width], "counts": plain_rle(bitmap)} for bitmap in bitmaps]
    return InstanceMasks.from_coco(encoded, height, width)


def drawn(outlines: list[list[NDArray[np.int64]]], masks: InstanceMasks) -> NDArray[np.bool_]:
    """The bitmaps of several outlines an object, by COCO's rule."""
    segmentations = [[outline.ravel().tolist() for outline in own] for own in outlines]
    return InstanceMasks.from_coco(segmentations, masks.height, masks.width).to_bitmaps().numpy()


def area(ring: NDArray[np.int64]) -> float:
    """Positive for a ring that goes clockwise on a screen."""
    x, y = ring.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


@given(arrays.arrays(np.bool_, SIDES))
def test_polygons_are_the_masks(bitmaps: NDArray[np.bool_]) -> None:
    masks = of_bitmaps(bitmaps)
    polygons = mask_polygons(masks)
    each = [[join_rings(polygon.rings) for polygon in own] for own in polygons]
    assert (drawn(each, masks) == bitmaps).all()
    whole = [[join_rings([ring for polygon in own for ring in polygon.rings])] if own else [] for own in polygons]
    assert (drawn(whole, masks) == bitmaps).all()  # parts and holes in one outline
    for bitmap, own in zip(bitmaps, polygons, strict=True):
        assert sum(area(ring) for polygon in own for ring in polygon.rings) == bitmap.sum()
        for polygon in own:
            assert area(polygon.exterior) > 0
            assert all(area(hole) < 0 for hole in polygon.holes)
            assert all(len(np.unique(ring, axis=0)) == len(ring) for ring in polygon.rings)
            # The hole lies in the part that it is given to: drawn, it takes as many pixels away as it has.
            [filled] = drawn([[polygon.exterior]], masks)
            [holed] = drawn([[join_rings(polygon.rings)]], masks)
            assert (holed <= filled).all()
            assert filled.sum() - holed.sum() == -sum(area(hole) for hole in polygon.holes)


@pytest.mark.parametrize(
    ("rows", "exteriors", "holes"),
    [
        (["##.", "##.", "..#"], 2, [0, 0]),  # they meet at a corner alone
        (["###", "#.#", "###"], 1, [1]),
        (["###", "#.#", "##."], 1, [1]),  # the hole touches the outline, whose point is met once
        (["####", "#.##", "##.#", "####"], 1, [2]),  # two holes that touch
        (["#####", "#...#", "#.#.#", "#...#", "#####"], 2, [1, 0]),  # an island in a hole
        (["#####", "#.#.#", "#####"], 1, [2]),
        (["...", "..."], 0, []),
    ],
)
def test_parts_and_holes(rows: list[str], exteriors: int, holes: list[int]) -> None:
    bitmap = np.array([[letter == "#" for letter in row] for row in rows])
    [polygons] = mask_polygons(of_bitmaps(bitmap[None]))
    assert len(polygons) == exteriors
    assert [len(polygon.holes) for polygon in polygons] == holes


def test_a_rectangle_has_four_points_from_the_upper_left_one_on() -> None:
    bitmap = np.zeros((1, 6, 9), dtype=np.bool_)
    bitmap[0, 2:5, 3:7] = True
    [[polygon]] = mask_polygons(of_bitmaps(bitmap))
    assert polygon.exterior.tolist() == [[3, 2], [7, 2], [7, 5], [3, 5]]
    assert isinstance(polygon, MaskPolygon)


def disks(count: int, side: int) -> NDArray[np.bool_]:
    """Disks with a hole each, of growing radius."""
    middle, (y, x) = side / 2, np.indices((side, side)) + 0.5
    distance = np.hypot(x - middle, y - middle)
    radii = np.linspace(side / 6, side / 2 - 1, count)
    return np.stack([(distance < radius) & (distance > radius / 3) for radius in radii])


@pytest.mark.parametrize(("tolerance", "least_iou", "most_points"), [(0.5, 0.99, 0.8), (1.0, 0.95, 0.25)])
def test_simplified_outlines_stay_near(tolerance: float, least_iou: float, most_points: float) -> None:
    bitmaps = disks(4, 120)
    masks = of_bitmaps(bitmaps)
    exact, simple = mask_polygons(masks), mask_polygons(masks, tolerance)
    again = drawn([[join_rings(polygon.rings) for polygon in own] for own in simple], masks)
    iou = (again & bitmaps).sum(axis=(1, 2)) / (again | bitmaps).sum(axis=(1, 2))
    assert iou.min() > least_iou
    points = [sum(len(ring) for [polygon] in found for ring in polygon.rings) for found in (exact, simple)]
    assert points[1] < most_points * points[0]
    for [polygon], [before] in zip(simple, exact, strict=True):
        for ring, original in zip(polygon.rings, before.rings, strict=True):
            assert {tuple(point) for point in ring.tolist()} <= {tuple(point) for point in original.tolist()}


def test_no_part_vanishes_by_simplification() -> None:
    bitmap = np.zeros((1, 5, 8), dtype=np.bool_)
    bitmap[0, 1, 1] = bitmap[0, 3, 2:7] = True
    masks = of_bitmaps(bitmap)
    [polygons] = mask_polygons(masks, tolerance=10.0)
    assert (drawn([[polygon.exterior for polygon in polygons]], masks) == bitmap).all()


def test_polygons_of_polygons_and_of_no_masks() -> None:
    masks = InstanceMasks.from_coco([[[0.2, 0.1, 5.8, 0.3, 3.1, 4.9]]], 6, 7)
    again = drawn([[join_rings(polygon.rings) for polygon in own] for own in mask_polygons(masks)], masks)
    assert torch.equal(torch.from_numpy(again), masks.to_bitmaps())
    assert mask_polygons(InstanceMasks.from_coco([], 4, 5)) == []
    assert mask_polygons(InstanceMasks.from_coco([], 0, 0)) == []


def test_errors() -> None:
    masks = InstanceMasks.from_coco([[[0, 0, 2, 0, 2, 3]]], 4, 5)
    for tolerance in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=r"^mask_polygons: tolerance must be at least 0; got (-1.0|nan)$"):
            mask_polygons(masks, tolerance)
    with pytest.raises(ValueError, match=r"^join_rings: expected at least one ring; got none$"):
        join_rings([])
