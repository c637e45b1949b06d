"""InstanceMasks: COCO's rule against pycocotools and faster-coco-eval, and every change against that of the bitmaps."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import fastmrcnn.ops._mask_forms as mask_forms_module
from fastmrcnn.ops import InstanceMasks
from fastmrcnn.ops._library import native
from tests.ops.box_cases import INF, NAN
from tests.ops.mask_cases import plain_rle, tight_boxes
from tests.ops.segmentation_cases import POLYGON_KINDS, random_bitmap, random_polygon, random_segmentations

SQUARE = [0.0, 0, 2, 0, 2, 3, 0, 3]


def encode_bitmap(bitmap: np.ndarray) -> dict[str, Any]:
    return {"size": list(bitmap.shape), "counts": plain_rle(bitmap)}


def runs_of(bitmaps: np.ndarray) -> InstanceMasks:
    """Bitmaps `[G, H, W]` as run lengths."""
    return InstanceMasks.from_coco([encode_bitmap(bitmap) for bitmap in bitmaps], *bitmaps.shape[1:])


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
@pytest.mark.parametrize("peer", ["pycocotools.mask", "faster_coco_eval.core.mask"])
@pytest.mark.parametrize("kind", POLYGON_KINDS)
def test_polygons_become_pixels_by_cocos_rule(kind: str, peer: str) -> None:
    coco = pytest.importorskip(peer, reason=f"the peer comparison needs {peer}")
    rng = np.random.default_rng(POLYGON_KINDS.index(kind))
    for largest in [8, 60, 200] * 40:
        height, width = (int(side) for side in rng.integers(1, largest, 2))
        polygons = [random_polygon(rng, kind, height, width) for _ in range(rng.integers(1, 4))]
        expected = [coco.merge(coco.frPyObjects(some, height, width)) for some in ([polygons[0]], polygons)]
        found = InstanceMasks.from_coco([[polygons[0]], polygons], height, width).to_rle()
        assert [rle["counts"].encode() for rle in found] == [rle["counts"] for rle in expected]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
@given(st.lists(st.tuples(st.floats(-40, 80), st.floats(-40, 80)), min_size=3, max_size=8))
def test_any_polygon_equals_pycocotools(points: list[tuple[float, float]]) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="the peer comparison needs pycocotools")
    polygon = [value for point in points for value in point]
    expected = coco.merge(coco.frPyObjects([polygon], 30, 40))
    [found] = InstanceMasks.from_coco([[polygon]], 30, 40).to_rle()
    assert found["counts"].encode() == expected["counts"]


def test_a_polygon_far_larger_than_the_image_costs_no_more_than_the_image() -> None:
    for far in (1e6, 1e12, 1e300):
        masks = InstanceMasks.from_coco([[[-far, -far, far, -far, far, far, -far, far]]], 20, 30)
        assert masks.to_bitmaps().all()
    slanted = InstanceMasks.from_coco([[[-1e9, -1e9, 1e9, 1e9, -1e9, 1e9]]], 20, 30).to_bitmaps()[0]
    assert (slanted.int() - torch.ones(20, 30).tril().int()).abs().sum() <= 20  # the border on the diagonal


def test_points_that_are_no_numbers_draw_nothing() -> None:
    masks = InstanceMasks.from_coco([[SQUARE, [5.0, 5, 9, 5, 9, 9]]], 12, 12)
    masks.points[5, 0] = NAN
    assert masks.areas().tolist() == [6]
    masks.points[:] = INF
    assert masks.areas().tolist() == [0]


@pytest.mark.parametrize("seed", range(12))
def test_run_lengths_go_back_and_forth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 50, 2))
    bitmaps = np.stack([random_bitmap(rng, height, width) for _ in range(4)] + [np.ones((height, width), bool)])
    masks = runs_of(bitmaps)
    assert masks.to_rle() == [encode_bitmap(bitmap) for bitmap in bitmaps]
    np.testing.assert_array_equal(masks.to_bitmaps().numpy(), bitmaps)


def test_noise_takes_more_room_than_an_outline_and_gets_it() -> None:
    bitmaps = np.random.default_rng(0).random((2, 300, 4)) < 0.5
    assert len(runs_of(bitmaps).to_rle()[0]["counts"]) > 64 + 8 * 4
    comb = [value for k in range(60) for value in (0, 5 * k, 4, 5 * k, 4, 5 * k + 2.5, 0, 5 * k + 2.5)]
    masks = InstanceMasks.from_coco([[comb[8 * k : 8 * k + 8] for k in range(60)]], 300, 4)
    assert masks.to_runs().transitions.numel() > 16 + 4 * 4
    np.testing.assert_array_equal(masks.to_runs().to_bitmaps().numpy(), masks.to_bitmaps().numpy())


@pytest.mark.parametrize("at_once", [1, 5000])
def test_many_masks_become_others_in_parts(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    polygons = [[[x, 2.0, x + 9, 2.0, x + 5, y]] for x in range(0, 30, 3) for y in (8.0, 15.0)]
    masks = InstanceMasks.from_coco(polygons, 20, 40)
    expected, runs = masks.to_rle(), masks.to_runs()
    monkeypatch.setattr(mask_forms_module, "_BYTES_AT_ONCE", at_once)
    assert masks.to_rle() == expected
    assert torch.equal(masks.to_runs().transitions, runs.transitions)
    assert torch.equal(masks.to_runs().object_transitions, runs.object_transitions)
    assert masks[:0].to_rle() == []


def test_runs_of_no_length_and_repeated_ones_are_the_same_mask() -> None:
    expected = [[[False, True], [False, True]]]
    for counts in ([2, 2], [0, 0, 2, 2], [2, 1, 0, 1], [1, 0, 1, 2, 0], [2, 2, 0, 0]):
        masks = InstanceMasks.from_coco([{"size": [2, 2], "counts": counts}], 2, 2)
        assert masks.to_bitmaps().tolist() == expected
        assert masks.to_rle() == [{"size": [2, 2], "counts": "22"}]


@pytest.mark.parametrize("seed", range(8))
def test_measures_and_selection_equal_those_of_the_bitmaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 60, 2))
    segmentations = random_segmentations(rng, 9, height, width)
    masks = InstanceMasks.from_coco(segmentations, height, width)
    bitmaps = masks.to_bitmaps()
    assert masks.shape == bitmaps.shape
    assert torch.equal(masks.areas(), bitmaps.flatten(1).sum(dim=1).float())
    assert torch.equal(masks.boxes(), tight_boxes(bitmaps))
    middles = [bitmap.nonzero().flip(1).float().mean(dim=0) + 0.5 for bitmap in bitmaps]  # NaN where it is empty
    torch.testing.assert_close(masks.centroids(), torch.stack(middles), equal_nan=True)
    order = torch.from_numpy(rng.integers(0, 9, 5))
    for chosen in (order, torch.from_numpy(rng.random(9) < 0.5), slice(2, 7, 2), slice(0, 0)):
        assert torch.equal(masks[chosen].to_bitmaps(), bitmaps[chosen])
    assert torch.equal(pickle.loads(pickle.dumps(masks)).to_bitmaps(), bitmaps)


@pytest.mark.parametrize("seed", range(10))
def test_changes_of_run_lengths_equal_those_of_the_bitmaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    bitmaps = np.stack([random_bitmap(rng, height, width) for _ in range(5)] + [np.ones((height, width), bool)])
    masks, expected = runs_of(bitmaps), torch.from_numpy(bitmaps)
    assert torch.equal(masks.flip(horizontal=True).to_bitmaps(), expected.flip(2))
    assert torch.equal(masks.flip(vertical=True).to_bitmaps(), expected.flip(1))
    assert torch.equal(masks.flip(horizontal=True, vertical=True).to_bitmaps(), expected.flip(1, 2))
    assert torch.equal(masks.flip().to_bitmaps(), expected)
    top, left = int(rng.integers(height)), int(rng.integers(width))
    rows, columns = int(rng.integers(height - top + 1)), int(rng.integers(width - left + 1))
    cropped = masks.crop(top, left, rows, columns)
    assert torch.equal(cropped.to_bitmaps(), expected[:, top : top + rows, left : left + columns])
    for mode in ("nearest", "nearest-exact"):
        size = tuple(int(side) for side in rng.integers(1, 90, 2))
        resized = F.interpolate(expected[:, None].to(torch.uint8), size, mode=mode)[:, 0].bool()
        assert torch.equal(masks.resize(*size, mode=mode).to_bitmaps(), resized)


def test_polygons_follow_the_image() -> None:
    masks = InstanceMasks.from_coco([[[1.0, 2, 5, 2, 5, 8, 1, 8]]], 10, 20)
    assert masks.boxes().tolist() == [[1, 2, 5, 8]]
    assert masks.flip(horizontal=True).boxes().tolist() == [[15, 2, 19, 8]]
    assert masks.flip(vertical=True).boxes().tolist() == [[1, 2, 5, 8]]
    assert masks.crop(3, 2, 6, 10).boxes().tolist() == [[0, 0, 3, 5]]
    assert masks.resize(20, 10).boxes().tolist() == [[1, 4, 3, 16]]
    assert masks.boxes().tolist() == [[1, 2, 5, 8]]  # as it was


def test_no_objects_and_no_pixels() -> None:
    for height, width in [(3, 5), (0, 5), (3, 0), (0, 0)]:
        masks = InstanceMasks.from_coco([], height, width)
        assert masks.shape == (0, height, width)
        assert masks.to_rle() == []
        assert masks.to_bitmaps().shape == (0, height, width)
        assert masks.boxes().shape == (0, 4)
        assert masks.centroids().shape == (0, 2)
        assert masks.flip(horizontal=True).shape == masks.shape
        one = InstanceMasks.from_coco([[SQUARE]], height, width)
        assert one.areas().tolist() == [min(6, height * width)]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1.0, 2, 3, 4]], "expected a polygon of at least 3 points (x, y); got 4 numbers"),
        ([[1.0, 2, 3, 4, 5, 6, 7]], "expected a polygon of at least 3 points (x, y); got 7 numbers"),
        ([[1.0, 2, 3, 4, 5, NAN]], "expected polygon coordinates to be finite"),
        ([[1.0, 2, 3, 4, 5, INF]], "expected polygon coordinates to be finite"),
        ({"size": [4, 5], "counts": "0"}, "expected an RLE of size [5, 4] (height, width); got [4, 5]"),
        ({"counts": "0"}, "expected an RLE of size [5, 4] (height, width); got None"),
        ({"size": [5, 4], "counts": 3}, "expected RLE counts as a string or a list; got int"),
        ({"size": [5, 4], "counts": [5, -1, 16]}, "expected RLE counts to be non-negative integers"),
        ({"size": [5, 4], "counts": [5.0, 15.0]}, "expected RLE counts to be non-negative integers"),
        ({"size": [5, 4], "counts": [5, 5]}, "expected RLE counts of 20 pixels in all; got 10"),
        ({"size": [5, 4], "counts": "5"}, "parse_rle: the runs of mask 0 must count 20 pixels in all; got 5"),
        ({"size": [5, 4], "counts": "O"}, "parse_rle: the runs of mask 0 must be positive and count 20 pixels in all"),
        ({"size": [5, 4], "counts": "d1"}, "parse_rle: the runs of mask 0 must be positive and count 20 pixels in all"),
        ({"size": [5, 4], "counts": "é"}, "parse_rle: the string of mask 0 is damaged"),
        ({"size": [5, 4], "counts": "o" * 11 + "0"}, "parse_rle: the string of mask 0 is damaged"),
        ({"size": [5, 4], "counts": "5o"}, "parse_rle: the string of mask 0 is damaged"),
    ],
)
def test_malformed_segmentations_are_refused(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        InstanceMasks.from_coco([[SQUARE], segmentation], 5, 4)
    assert str(caught.value) == f"InstanceMasks: segmentation 1: {message}"


@given(st.text(max_size=30))
def test_any_string_of_counts_is_read_or_refused(counts: str) -> None:
    try:
        masks = InstanceMasks.from_coco([{"size": [3, 3], "counts": counts}], 3, 3)
    except ValueError:
        return
    assert masks.to_bitmaps().shape == (1, 3, 3)


def test_errors() -> None:
    masks = InstanceMasks.from_coco([[SQUARE]], 5, 4)
    cases = [
        (lambda: masks.crop(0, 2, 5, 3), r"the crop must lie within \[5, 4\]; got rows 0\.\.5 and columns 2\.\.5"),
        (lambda: masks.resize(0, 3), r"the new size must be positive; got \[0, 3\]"),
        (lambda: masks.resize(3, 3, mode="bilinear"), "mode must be nearest or nearest-exact; got bilinear"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=f"InstanceMasks: {message}"):
            call()
    with pytest.raises(ValueError, match=r"an image without pixels has no other size; got \[1, 0, 4\]"):
        InstanceMasks.from_coco([[SQUARE]], 0, 4).resize(3, 3)
    large = InstanceMasks.from_coco([[SQUARE]], 1 << 16, 1 << 16)
    with pytest.raises(ValueError, match=r"mask_transitions: the image must have fewer than 2\^32 pixels"):
        large.areas()


def test_positions_to_format_must_ascend_within_the_image() -> None:
    strings, lengths = torch.empty(1, 30, dtype=torch.uint8), torch.empty(1, dtype=torch.int64)
    for positions in ([3, 2], [-1], [5]):
        with pytest.raises(ValueError, match=r"format_rle: transitions of object 0 must ascend within 0\.\.4"):
            native.format_rle((1, 0), torch.tensor(positions), torch.tensor([0, len(positions)]), 4, strings, lengths)


def test_arrays_travel_in_one_piece() -> None:
    masks = InstanceMasks.from_coco([[SQUARE], {"size": [5, 4], "counts": [5, 15]}, [SQUARE, SQUARE]], 5, 4)
    for some in (masks, masks[1:], masks[:0]):
        moved = some._unpack(some._pack(torch.empty(some._packed_size(), dtype=torch.int64)))
        assert (moved.height, moved.width) == (5, 4)
        for name in ("points", "polygons", "object_polygons", "transitions", "object_transitions"):
            given, found = getattr(some, name), getattr(moved, name)
            assert found.dtype == given.dtype
            assert torch.equal(found, given)


def test_masks_are_equal_to_themselves_alone() -> None:
    masks = InstanceMasks.from_coco([[SQUARE]], 5, 4)
    assert masks == masks
    assert masks != masks[:]


def test_damaged_offsets_are_refused() -> None:
    masks = InstanceMasks.from_coco([[SQUARE], {"size": [5, 4], "counts": [5, 15]}], 5, 4)
    cases = [
        ("polygons", [0, 5], r"polygons must ascend from 0 to 4"),
        ("object_polygons", [0, 2, 1], r"object_polygons must ascend from 0 to 1"),
        ("object_transitions", [0, 1], r"object_transitions must be \[count \+ 1\]; got \[2\]"),
        ("object_transitions", [1, 1, 1], r"object_transitions must ascend from 0 to 1"),
        ("transitions", [21], r"transitions of object 1 must ascend within 0\.\.20"),
    ]
    for name, values, message in cases:
        damaged = InstanceMasks(**{**vars(masks), name: torch.tensor(values)})
        with pytest.raises(ValueError, match=f"mask_transitions: {message}"):
            damaged.to_runs()


def test_from_bitmaps() -> None:
    rng = np.random.default_rng(5)
    bitmaps = rng.random((6, 9, 13)) < np.array([0, 0.1, 0.5, 0.5, 0.9, 1])[:, None, None]
    for source in (bitmaps, torch.from_numpy(bitmaps), (bitmap.astype(np.uint8) * 255 for bitmap in bitmaps)):
        masks = InstanceMasks.from_bitmaps(source, 9, 13)
        assert torch.equal(masks.to_bitmaps(), torch.from_numpy(bitmaps))
        assert [rle["counts"] for rle in masks.to_rle()] == [plain_rle(bitmap) for bitmap in bitmaps]
    assert InstanceMasks.from_bitmaps([], 9, 13).shape == (0, 9, 13)
    assert InstanceMasks.from_bitmaps([np.zeros((0, 0))], 0, 0).shape == (1, 0, 0)
    with pytest.raises(ValueError, match=r"^InstanceMasks: expected bitmaps \[9, 12\]; got \[9, 13\]$"):
        InstanceMasks.from_bitmaps(bitmaps, 9, 12)
