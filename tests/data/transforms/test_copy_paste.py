"""Copy-paste: what is covered of an object is no longer its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastmrcnn.data import Sample
from fastmrcnn.data.transforms import CopyPaste, HorizontalFlip
from fastmrcnn.data.transforms.copy_paste import paste
from fastmrcnn.ops import InstanceMasks
from tests.data.transforms.samples import assert_whole, generator, make_sample, photograph, sample_of, samples


def rectangles(*corners: tuple[int, int, int, int]) -> torch.Tensor:
    """Bitmaps [N, 10, 20] of x1, y1, x2, y2."""
    bitmaps = torch.zeros((len(corners), 10, 20), dtype=torch.bool)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, corners, strict=True):
        bitmap[y1:y2, x1:x2] = True
    return bitmaps


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 4), st.integers(0, 4), st.integers(0, 1000))
def test_pasting_is_that_of_the_bitmaps(height: int, width: int, under: int, over: int, seed: int) -> None:
    sample, other = make_sample(height, width, under, seed), make_sample(height, width, over, seed + 1)
    other = replace(other, image=torch.full_like(other.image, 100), labels=other.labels + 10)
    pasted = paste(sample, other)
    assert_whole(pasted)
    cover = other.masks.to_bitmaps().any(dim=0)
    left = sample.masks.to_bitmaps() & ~cover
    visible = left.flatten(1).any(dim=1)
    assert torch.equal(pasted.masks.to_bitmaps(), torch.cat([left[visible], other.masks.to_bitmaps()]))
    assert torch.equal(pasted.labels, torch.cat([sample.labels[visible], other.labels]))
    assert torch.equal(pasted.boxes, pasted.masks.boxes())
    torch.testing.assert_close(pasted.areas, pasted.masks.areas())
    assert torch.equal(pasted.image, torch.where(cover, other.image, sample.image))


def test_an_object_with_one_visible_pixel_stays_and_a_hidden_one_goes() -> None:
    sample = sample_of(rectangles((2, 2, 6, 6), (8, 2, 12, 6), (14, 2, 16, 4)))
    other = sample_of(rectangles((2, 2, 6, 6), (8, 2, 12, 5), (9, 5, 12, 6)))
    pasted = paste(sample, replace(other, labels=torch.tensor([7, 8, 9])))
    assert pasted.labels.tolist() == [1, 2, 7, 8, 9]
    assert pasted.boxes[0].tolist() == [8, 5, 9, 6]
    assert pasted.areas.tolist()[:2] == [1, 4]


def test_objects_that_are_not_covered_keep_their_polygons_and_annotated_boxes() -> None:
    polygons = InstanceMasks.from_coco([[[2, 2, 6, 2, 6, 6, 2, 6]], [[12, 2, 16, 2, 16, 6, 12, 6]]], 10, 20)
    boxes = torch.tensor([[1.5, 2, 6, 6.25], [11.5, 2, 16, 6.25]])
    sample = sample_of(rectangles((2, 2, 6, 6), (12, 2, 16, 6)), masks=polygons, boxes=boxes)
    pasted = paste(sample, sample_of(rectangles((0, 0, 4, 10))))
    assert pasted.boxes.tolist()[:2] == [[4, 2, 6, 6], [11.5, 2, 16, 6.25]]
    assert torch.equal(pasted.masks.object_polygons.diff(), torch.tensor([0, 1, 0]))


def test_crowds_are_covered_but_never_pasted() -> None:
    crowd = torch.tensor([True])
    sample = sample_of(rectangles((0, 0, 20, 10)), iscrowd=crowd)
    pasted = paste(sample, sample_of(rectangles((0, 0, 5, 10))))
    assert pasted.iscrowd.tolist() == [True, False]
    assert pasted.boxes.tolist() == [[5, 0, 20, 10], [0, 0, 5, 10]]
    paste_crowds = CopyPaste([sample], 1.0)
    assert all(paste_crowds(make_sample(10, 20, 0), generator(seed)).labels.tolist() == [] for seed in range(10))


def test_keypoints_under_a_pasted_object_are_no_longer_visible() -> None:
    points = torch.tensor([[[3.0, 3, 2], [8, 3, 2], [4, 3, 1], [2, 3, 0]]])
    names = {"keypoint_names": ("a", "b", "c", "d")}
    sample = sample_of(rectangles((2, 2, 10, 6)), keypoints=points, **names)
    other = sample_of(rectangles((0, 0, 5, 10)), keypoints=points + 1, **names)
    keypoints = paste(sample, other).keypoints
    assert keypoints is not None
    assert keypoints[0].tolist() == [[3, 3, 1], [8, 3, 2], [4, 3, 1], [2, 3, 0]]
    assert torch.equal(keypoints[1], points[0] + 1)


def test_any_number_of_objects_of_any_other_image() -> None:
    others = [make_sample(10, 20, 3, seed=1), make_sample(10, 20, 5, seed=2)]
    others = [replace(other, labels=other.labels + 10 * number) for number, other in enumerate(others, start=1)]
    paste_any = CopyPaste(others, probability=0.75)
    empty = make_sample(10, 20, 0)
    found = [paste_any(empty, generator(seed)).labels.tolist() for seed in range(200)]
    assert {len(labels) for labels in found} == set(range(6))
    assert 40 < sum(not labels for labels in found) < 120  # a quarter pasted nothing, and so did some of the others
    assert {label // 10 for labels in found for label in labels} == {1, 2}
    assert all(len({label // 10 for label in labels}) <= 1 for labels in found)


@given(samples, samples, st.integers(0, 1000))
def test_images_of_other_sizes_are_laid_over_anywhere(sample: Sample, other: Sample, seed: int) -> None:
    other = replace(other, image=torch.full_like(other.image, 100))
    pasted = CopyPaste([other], 1.0)(sample, generator(seed))
    assert_whole(pasted)
    assert pasted.image.shape == sample.image.shape
    assert torch.equal(pasted.image[0] > 0, pasted.masks.to_bitmaps().any(dim=0))
    assert torch.equal(pasted.boxes, pasted.masks.boxes())


def test_the_other_image_goes_through_the_transforms_first() -> None:
    other = sample_of(rectangles((0, 0, 5, 10)))
    pasted = [CopyPaste([other], 1.0, [HorizontalFlip(1.0)])(make_sample(10, 20, 0), generator(s)) for s in range(9)]
    boxes = {tuple(box) for sample in pasted for box in sample.boxes.tolist()}
    assert boxes == {(15, 0, 20, 10)}


def test_a_deep_image_over_a_shallow_one() -> None:
    sample, other = photograph(10, 20, 2), sample_of(rectangles((0, 0, 5, 10)))
    other = replace(other, image=torch.full((3, 10, 20), 0.25), keypoint_names=sample.keypoint_names)
    image = paste(sample, other).image
    assert (image[:, :, :5] == 0.25).all()
    assert torch.equal(image[:, :, 5:], sample.image[:, :, 5:] / 255)


def test_what_cannot_be_pasted() -> None:
    sample = make_sample(10, 20, 1)
    with pytest.raises(ValueError, match=r"^CopyPaste: probability must be in 0\.\.1; got 2$"):
        CopyPaste([sample], 2)
    with pytest.raises(ValueError, match=r"^CopyPaste: others must hold at least one sample; got none$"):
        CopyPaste([])
    with pytest.raises(ValueError, match=r"^paste: expected images of one size; got \[\[3, 10, 20\], \[3, 9, 20\]\]$"):
        paste(sample, make_sample(9, 20, 1))
    with pytest.raises(ValueError, match=r"^paste: expected the keypoints \(\); got \('left_eye', 'right_eye'\)$"):
        paste(sample, photograph(10, 20, 1))
