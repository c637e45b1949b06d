"""Segmentations: equal to pycocotools where it is installed, and refused with a reason where they are malformed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastmrcnn.data.masks import check_segmentation, encode_rle, run_lengths, segmentation_to_rle
from fastmrcnn.ops import InstanceMasks

PEER_WARNINGS = pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
bitmaps = hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def bitmap_of(segmentation: object, height: int, width: int) -> np.ndarray:
    return InstanceMasks.from_coco([segmentation], height, width).to_bitmaps()[0].numpy()


@given(bitmaps)
def test_compressed_and_plain_run_lengths_give_the_bitmap_back(mask: np.ndarray) -> None:
    height, width = mask.shape
    compressed = encode_rle(mask)
    plain = {"size": [height, width], "counts": run_lengths(mask)}
    check_segmentation(compressed, height, width)
    for encoding in (compressed, plain):
        rle = segmentation_to_rle(encoding, height, width)
        assert rle == compressed
        np.testing.assert_array_equal(bitmap_of(rle, height, width), mask)


@PEER_WARNINGS
def test_encodings_equal_pycocotools() -> None:
    peer = pytest.importorskip("pycocotools.mask", reason="compares with pycocotools")
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (7, 11), (60, 90)]:
        mask = rng.random((height, width)) > rng.random()
        expected = peer.encode(np.asfortranarray(mask, dtype=np.uint8))
        assert encode_rle(mask)["counts"] == expected["counts"].decode()


@PEER_WARNINGS
@given(st.lists(st.tuples(st.floats(-20, 60), st.floats(-20, 60)), min_size=3, max_size=8))
def test_polygons_equal_pycocotools(points: list[tuple[float, float]]) -> None:
    peer = pytest.importorskip("pycocotools.mask", reason="compares with pycocotools")
    polygon = [value for point in points for value in point]
    expected = peer.decode(peer.merge(peer.frPyObjects([polygon], 30, 40)))
    found = bitmap_of(segmentation_to_rle([polygon], 30, 40), 30, 40)
    np.testing.assert_array_equal(found, expected.astype(bool))


def test_several_polygons_are_one_region() -> None:
    left, right = [0, 0, 2, 0, 2, 4, 0, 4], [3, 0, 4, 0, 4, 4, 3, 4]
    mask = bitmap_of(segmentation_to_rle([left, right], 4, 4), 4, 4)
    assert mask.sum(axis=0).tolist() == [4, 4, 0, 4]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "expected a list of polygons or an RLE object; got NoneType"),
        ([], "expected at least one polygon; got an empty list"),
        ([[1, 2, 3, 4]], "expected a polygon of at least 3 points (x, y); got 4 numbers"),
        ([[1, 2, 3, 4, 5, 6, 7]], "expected a polygon of at least 3 points (x, y); got 7 numbers"),
        ([1, 2, 3, 4, 5, 6], "expected polygons as lists of numbers; got int"),
        ([[0, 0, 1, 0, 1, "1"]], "expected polygon coordinates to be numbers between -100000 and 100000"),
        ([[0, 0, 1, float("nan"), 1, 1]], "expected polygon coordinates to be numbers between -100000 and 100000"),
        ([[0, 0, 1e9, 0, 1, 1]], "expected polygon coordinates to be numbers between -100000 and 100000"),
        ({"size": [4, 5], "counts": [20]}, "expected an RLE of size [5, 4] (height, width); got [4, 5]"),
        ({"size": [5, 4], "counts": [3, 18]}, "expected RLE counts of 20 pixels in all; got 21"),
        ({"size": [5, 4], "counts": [-1, 21]}, "expected RLE counts to be non-negative integers"),
        ({"size": [5, 4], "counts": 20}, "expected RLE counts as a string or a list; got int"),
        ({"size": [5, 4], "counts": "`"}, "expected a compressed RLE string; the counts are damaged"),
        ({"size": [5, 4], "counts": "é"}, "expected a compressed RLE string; the counts are damaged"),
        ({"size": [5, 4], "counts": ""}, "expected RLE counts of 20 pixels in all; got 0"),
        ({"size": [5, 4], "counts": "o" * 11 + "0"}, "expected a compressed RLE string; the counts are damaged"),
        ({"size": [5, 4], "counts": "O"}, "expected a compressed RLE string; a run is negative"),
    ],
)
def test_malformed_segmentations_are_refused(segmentation: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_segmentation(segmentation, 5, 4)
    assert str(caught.value) == message


@given(st.text(max_size=30))
def test_any_string_of_counts_is_refused_at_once_or_gives_a_mask(counts: str) -> None:
    segmentation = {"size": [3, 3], "counts": counts}
    try:
        check_segmentation(segmentation, 3, 3)
    except ValueError:
        return
    assert InstanceMasks.from_coco([segmentation], 3, 3).areas() <= 9
