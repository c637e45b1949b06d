"""Moving a sample keeps image, boxes, masks and keypoints together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fastmrcnn.data import Sample
from fastmrcnn.data.transforms import HorizontalFlip, Transform, VerticalFlip, crop, pad, resize
from fastmrcnn.ops import InstanceMasks
from tests.data.transforms.samples import assert_whole, generator, make_sample, photograph, sample_of, samples


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


def test_half_of_the_images_are_flipped() -> None:
    sample = make_sample(12, 9, 2)
    flips = [HorizontalFlip(0.5)(sample, generator(seed)) is sample for seed in range(40)]
    assert 8 < sum(flips) < 32


@given(samples, st.integers(1, 30), st.integers(1, 30))
def test_resized_boxes_stay_about_their_masks(sample: Sample, height: int, width: int) -> None:
    resized = resize(sample, height, width)
    assert resized.image.shape == (3, height, width)
    assert_whole(resized)
    assert len(resized) == len(sample)
    # A pixel is in the mask when its centre was: the box is off by half a pixel at most, rounding aside.
    sampled = sample.masks.resize(height, width).areas() > 0
    assert ((resized.masks.boxes() - resized.boxes).abs()[sampled] <= 0.501).all()
    # A mask between the pixels keeps one of them, in its box.
    pixels, boxes = resized.masks.boxes()[~sampled], resized.boxes[~sampled]
    assert torch.equal(resized.masks.areas()[~sampled], torch.ones(len(pixels)))
    assert ((pixels[:, :2] <= boxes[:, 2:]) & (pixels[:, 2:] >= boxes[:, :2])).all()


def test_areas_follow_the_scale() -> None:
    sample = make_sample(8, 8, 2)
    assert torch.equal(resize(sample, 16, 24).areas, sample.areas * 6)


def test_a_mask_of_one_pixel_survives_every_move() -> None:
    bitmap = torch.zeros((1, 40, 30), dtype=torch.bool)
    bitmap[0, 11, 7] = True
    polygon = InstanceMasks.from_coco([[[7, 11, 8, 11, 8, 12, 7, 12]]], 40, 30)
    for sample in (sample_of(bitmap), sample_of(bitmap, masks=polygon)):
        shrunk = resize(sample, 4, 3)
        assert shrunk.masks.boxes().tolist() == [[0, 1, 1, 2]]  # the pixel that the other one lies in
        assert crop(sample, 11, 7, 1, 1).masks.to_bitmaps().all()
        assert crop(sample, 11, 0, 29, 30).masks.boxes().tolist() == [[7, 0, 8, 1]]
        assert pad(sample, 1, 2, 3, 4).masks.boxes().tolist() == [[9, 12, 10, 13]]
        for flip in (HorizontalFlip(1.0), VerticalFlip(1.0)):
            assert flip(sample, generator()).masks.areas().tolist() == [1]


@given(samples, st.data())
def test_a_crop_is_that_of_the_bitmaps(sample: Sample, data: st.DataObject) -> None:
    height, width = sample.image.shape[1:]
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    window = slice(None), slice(top, top + rows), slice(left, left + columns)
    cropped = crop(sample, top, left, rows, columns)
    assert_whole(cropped)
    assert torch.equal(cropped.image, sample.image[window])
    bitmaps = sample.masks.to_bitmaps()[window]
    inside = bitmaps.flatten(1).any(dim=1)
    assert cropped.labels.tolist() == inside.nonzero()[:, 0].tolist()
    assert torch.equal(cropped.masks.to_bitmaps(), bitmaps[inside])
    assert torch.equal(cropped.boxes, cropped.masks.boxes())
    assert torch.equal(cropped.areas, cropped.masks.areas())


def test_boxes_that_a_crop_does_not_cut_keep_what_the_annotation_says() -> None:
    sample = photograph(20, 30, 1)
    sample = replace(sample, boxes=torch.tensor([[4.25, 5.5, 20.75, 18.0]]), areas=torch.tensor([7.5]))
    sample = replace(sample, masks=InstanceMasks.from_coco([[[5, 6, 20, 6, 20, 18, 5, 18]]], 20, 30))
    whole = crop(sample, 2, 3, 18, 20)
    assert whole.boxes.tolist() == [[1.25, 3.5, 17.75, 16.0]]
    assert whole.areas.tolist() == [7.5]
    cut = crop(sample, 2, 3, 8, 20)
    assert cut.boxes.tolist() == [[2, 4, 17, 8]]
    assert cut.areas.tolist() == [4 * 15]


def test_keypoints_that_a_crop_cuts_off_are_not_labelled() -> None:
    sample = photograph(20, 30, 1)
    sample = replace(
        sample, keypoints=torch.tensor([[[6.5, 7, 2], [2, 7, 1]]]), masks=sample_of(torch.ones(1, 20, 30).bool()).masks
    )
    assert crop(sample, 5, 3, 10, 10).keypoints is not None
    assert crop(sample, 5, 3, 10, 10).keypoints.tolist() == [[[3.5, 2, 2], [0, 0, 0]]]  # type: ignore[union-attr]
    assert pad(sample, 5, 3, 0, 0).keypoints.tolist() == [[[9.5, 12, 2], [5, 12, 1]]]  # type: ignore[union-attr]


@given(samples, st.tuples(*[st.integers(0, 5)] * 4))
def test_padding_moves_everything(sample: Sample, around: tuple[int, int, int, int]) -> None:
    top, left, bottom, right = around
    padded = pad(sample, *around, fill=0)
    assert_whole(padded)
    assert torch.equal(padded.image, F.pad(sample.image, (left, right, top, bottom)))
    assert torch.equal(padded.image[0] == 255, padded.masks.to_bitmaps().any(dim=0))
    assert torch.equal(padded.boxes, padded.masks.boxes())


def test_padding_of_each_channel() -> None:
    shallow = replace(make_sample(8, 8, 1), image=torch.randint(0, 256, (2, 8, 8), dtype=torch.uint8))
    for sample, expected in ((shallow, [51, 255]), (replace(shallow, image=shallow.image / 255), [0.2, 1.0])):
        padded = pad(sample, 1, 2, 3, 4, fill=(0.2, 1.0)).image
        assert padded.dtype == sample.image.dtype
        assert torch.equal(padded[:, 1:9, 2:10], sample.image)
        torch.testing.assert_close(padded[:, 0], torch.tensor(expected).to(padded.dtype)[:, None].expand(2, 14))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_image_may_shrink_to_one_pixel(channels: int) -> None:
    image = torch.arange(6 * channels, dtype=torch.uint8).reshape(channels, 2, 3)
    found = resize(replace(make_sample(2, 3, 1), image=image), 1, 1).image
    assert found.dtype == torch.uint8
    torch.testing.assert_close(found.flatten().float(), image.float().mean((1, 2)), atol=1.0, rtol=0)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_images_of_any_depth_and_channels(channels: int) -> None:
    shallow = replace(make_sample(8, 8, 1), image=torch.randint(0, 256, (channels, 8, 8), dtype=torch.uint8))
    deep = replace(shallow, image=shallow.image / 255)
    moves = [
        lambda sample: HorizontalFlip(1.0)(sample, generator()),
        lambda sample: resize(sample, 5, 11),
        lambda sample: crop(sample, 1, 2, 5, 5),
        lambda sample: pad(sample, 1, 2, 3, 4),
    ]
    for move in moves:
        expected, found = move(shallow).image, move(deep).image
        assert (expected.dtype, found.dtype) == (torch.uint8, torch.float32)
        assert found.shape[0] == channels
        assert 0 <= found.min() <= found.max() <= 1
        torch.testing.assert_close(found * 255, expected.float(), atol=1.01, rtol=0)
    fine = replace(shallow, image=torch.full((channels, 8, 8), 0.1001))
    torch.testing.assert_close(resize(fine, 5, 5).image, torch.full((channels, 5, 5), 0.1001))
