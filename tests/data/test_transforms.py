"""Transforms keep image, boxes and masks together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastmrcnn.data import Sample
from fastmrcnn.data.masks import encode_rle
from fastmrcnn.data.transforms import ColorJitter, HorizontalFlip, RandomScale, Transform, VerticalFlip, resize
from fastmrcnn.ops import InstanceMasks


def make_sample(height: int, width: int, objects: int, seed: int = 0) -> Sample:
    """Filled rectangles."""
    generator = torch.Generator().manual_seed(seed)
    bitmaps = torch.zeros((objects, height, width), dtype=torch.bool)
    for mask in bitmaps:
        y1, y2 = sorted(torch.randint(0, height + 1, (2,), generator=generator).tolist())
        x1, x2 = sorted(torch.randint(0, width + 1, (2,), generator=generator).tolist())
        mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True
        mask[min(y1, height - 1), min(x1, width - 1)] = True
    return sample_of(bitmaps)


def sample_of(bitmaps: torch.Tensor) -> Sample:
    """Objects with these masks; where one of them is true the image is white, elsewhere black."""
    objects, height, width = bitmaps.shape
    image = (bitmaps.any(dim=0).to(torch.uint8) * 255).expand(3, -1, -1)
    masks = InstanceMasks.from_coco([encode_rle(bitmap.numpy()) for bitmap in bitmaps], height, width)
    crowd = torch.zeros(objects, dtype=torch.bool)
    return Sample(image, 1, Path("a.png"), masks.boxes(), torch.arange(objects), masks, crowd, masks.areas())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


samples = st.builds(make_sample, st.integers(1, 20), st.integers(1, 20), st.integers(0, 4), seed=st.integers(0, 1000))


@given(samples, st.sampled_from([HorizontalFlip(1.0), VerticalFlip(1.0)]))
def test_flips_move_everything_and_undo_themselves(sample: Sample, flip: Transform) -> None:
    flipped = flip(sample, generator())
    assert torch.equal(flipped.boxes, flipped.masks.boxes())
    assert torch.equal(flipped.image[0] == 255, flipped.masks.to_bitmaps().any(dim=0))
    back = flip(flipped, generator())
    assert torch.equal(back.image, sample.image)
    assert torch.equal(back.boxes, sample.boxes)
    assert back.masks.to_rle() == sample.masks.to_rle()


def test_horizontal_means_left_and_right() -> None:
    sample = make_sample(4, 6, 1)
    flipped = HorizontalFlip(1.0)(sample, generator())
    assert torch.equal(flipped.masks.to_bitmaps(), sample.masks.to_bitmaps().flip(2))
    assert torch.equal(flipped.boxes[:, [1, 3]], sample.boxes[:, [1, 3]])


@given(samples, st.integers(1, 30), st.integers(1, 30))
def test_resized_boxes_stay_about_their_masks(sample: Sample, height: int, width: int) -> None:
    resized = resize(sample, height, width)
    assert resized.image.shape == (3, height, width)
    assert resized.masks.shape == (len(resized), height, width)
    assert (resized.masks.areas() > 0).all()
    # A pixel is in the mask when its centre was: the box is off by half a pixel at most, rounding aside.
    if len(resized):
        assert (resized.masks.boxes() - resized.boxes).abs().max() <= 0.501


def test_areas_follow_the_scale() -> None:
    sample = make_sample(8, 8, 2)
    assert torch.equal(resize(sample, 16, 24).areas, sample.areas * 6)


def test_objects_that_vanish_are_left_out_of_everything() -> None:
    bitmaps = torch.zeros((2, 40, 40), dtype=torch.bool)
    bitmaps[0, 1, 1] = True
    bitmaps[1, 10:30, 10:30] = True
    small = resize(sample_of(bitmaps), 4, 4)
    assert small.labels.tolist() == [1]
    assert [len(t) for t in (small.boxes, small.masks, small.iscrowd, small.areas)] == [1, 1, 1, 1]


@given(st.floats(0.3, 1), st.floats(1, 3), st.integers(0, 1000))
def test_scales_stay_in_their_range(smallest: float, largest: float, seed: int) -> None:
    scaled = RandomScale(smallest, largest)(make_sample(20, 20, 1), generator(seed))
    assert round(20 * smallest) <= scaled.image.shape[1] <= round(20 * largest)


def test_jitter_changes_colours_alone() -> None:
    sample = make_sample(8, 8, 1)
    sample = Sample(**{**vars(sample), "image": torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)})
    changed = ColorJitter(0.5)(sample, generator(3))
    assert changed.image.dtype == torch.uint8
    assert not torch.equal(changed.image, sample.image)
    assert changed.masks is sample.masks
    assert torch.equal(ColorJitter(0.0)(sample, generator()).image, sample.image)


def test_deep_images_keep_their_depth() -> None:
    shallow = make_sample(8, 8, 1)
    pixels = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    shallow, deep = replace(shallow, image=pixels), replace(shallow, image=pixels / 255)
    for transform in (HorizontalFlip(1.0), ColorJitter(0.3), RandomScale(0.5, 2.0)):
        expected, found = transform(shallow, generator(3)).image, transform(deep, generator(3)).image
        assert found.dtype == torch.float32
        assert 0 <= found.min() <= found.max() <= 1
        torch.testing.assert_close(found * 255, expected.float(), atol=0.51, rtol=0)
    fine = replace(shallow, image=torch.full((3, 8, 8), 0.1001))
    torch.testing.assert_close(resize(fine, 5, 5).image, torch.full((3, 5, 5), 0.1001))


def test_the_generator_alone_decides() -> None:
    sample = make_sample(12, 9, 2)
    for transform in (HorizontalFlip(), VerticalFlip(), ColorJitter(0.3), RandomScale(0.5, 2.0)):
        first, second = transform(sample, generator(5)), transform(sample, generator(5))
        assert torch.equal(first.image, second.image)
        assert first.masks.to_rle() == second.masks.to_rle()
    flips = [HorizontalFlip(0.5)(sample, generator(seed)) is sample for seed in range(40)]
    assert 8 < sum(flips) < 32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HorizontalFlip(1.5), r"HorizontalFlip: probability must be in 0\.\.1; got 1\.5"),
        (lambda: VerticalFlip(-1), r"VerticalFlip: probability must be in 0\.\.1; got -1"),
        (lambda: ColorJitter(float("nan")), r"ColorJitter: strength must be in 0\.\.1; got nan"),
        (lambda: RandomScale(2.0, 1.0), r"RandomScale: 0 < smallest <= largest must hold; got 2\.0, 1\.0"),
    ],
)
def test_values_out_of_range(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
