"""Drawn sizes and windows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastmrcnn.data import Sample
from fastmrcnn.data.transforms import LargeScaleJitter, MultiScale, RandomCrop
from tests.data.transforms.samples import assert_whole, generator, make_sample, photograph, sample_of, samples


def test_the_shorter_side_is_drawn_and_the_longer_one_bounded() -> None:
    sizes = [MultiScale((20, 30, 40), max_size=70)(make_sample(50, 100, 2), generator(seed)) for seed in range(30)]
    assert {tuple(sample.image.shape[1:]) for sample in sizes} == {(20, 40), (30, 60), (35, 70)}
    for sample in sizes:
        assert_whole(sample)
        assert len(sample) == 2
    tall = MultiScale((20,))(make_sample(100, 50, 2), generator())
    assert tall.image.shape == (3, 40, 20)
    kept = MultiScale((120,), enlarge=False)(make_sample(100, 50, 2), generator())
    assert kept.image.shape == (3, 100, 50)


@given(samples, st.integers(1, 40), st.floats(0.1, 2), st.integers(0, 1000))
def test_jittered_samples_fill_their_square(sample: Sample, size: int, scale: float, seed: int) -> None:
    jittered = LargeScaleJitter(size, scale, scale, fill=0)(sample, generator(seed))
    assert_whole(jittered)
    assert jittered.image.shape == (3, size, size)


def test_jitter_without_a_change_of_scale_cuts_or_pads() -> None:
    sample = make_sample(30, 20, 3, seed=4)
    padded = LargeScaleJitter(40, 0.75, 0.75, fill=0)(sample, generator())
    assert torch.equal(padded.image[:, :30, :20], sample.image)
    assert not padded.image[:, 30:].any()
    assert not padded.image[:, :, 20:].any()
    assert torch.equal(padded.boxes, sample.boxes)
    for seed in range(20):
        cut = LargeScaleJitter(15, 2, 2, fill=0)(sample, generator(seed))
        assert torch.equal(cut.image[0] == 255, cut.masks.to_bitmaps().any(dim=0))
        assert torch.equal(cut.boxes, cut.masks.boxes())
    corners = {tuple(LargeScaleJitter(15, 2, 2)(photograph(30, 20, 1), generator(s)).image[:, 0, 0]) for s in range(40)}
    assert len(corners) > 20  # of 16 x 6 places


def test_jitter_covers_its_range_of_scales_evenly() -> None:
    sample = sample_of(torch.ones((1, 50, 100), dtype=torch.bool))
    widths = [float(LargeScaleJitter(100, 0.1, 1.0)(sample, generator(seed)).boxes[0, 2]) for seed in range(200)]
    assert 10 <= min(widths) < 15
    assert 95 < max(widths) <= 100
    assert 50 < sum(widths) / len(widths) < 60


def test_objects_smaller_than_a_pixel_leave_everything() -> None:
    bitmaps = torch.zeros((2, 40, 40), dtype=torch.bool)
    bitmaps[0, 1, 1] = True
    bitmaps[1, 10:30, 10:30] = True
    small = LargeScaleJitter(40, 0.2, 0.2)(sample_of(bitmaps), generator())
    assert small.labels.tolist() == [1]
    assert_whole(small)


@given(samples, st.floats(0.1, 1), st.integers(0, 1000))
def test_windows_hold_a_part_of_an_object(sample: Sample, smallest: float, seed: int) -> None:
    height, width = sample.image.shape[1:]
    window = RandomCrop(1.0, smallest, 1.0)(sample, generator(seed))
    assert_whole(window)
    assert bool(len(window)) == bool(len(sample))
    rows, columns = window.image.shape[1:]
    assert max(1, round(smallest * height)) <= rows <= height
    assert max(1, round(smallest * width)) <= columns <= width
    assert torch.equal(window.image[0] == 255, window.masks.to_bitmaps().any(dim=0))
    assert torch.equal(window.boxes, window.masks.boxes())


def test_windows_are_as_frequent_as_asked_and_lie_anywhere() -> None:
    sample = photograph(20, 20, 0)
    windows = [RandomCrop(0.5, 0.5, 0.5)(sample, generator(seed)) for seed in range(60)]
    assert 15 < sum(window is sample for window in windows) < 45
    corners = {tuple(window.image[:, 0, 0].tolist()) for window in windows if window is not sample}
    assert len(corners) > 15


def test_a_box_beyond_the_image_leads_to_no_window_beyond_it() -> None:
    sample = replace(make_sample(10, 10, 1), boxes=torch.tensor([[8.0, 9, 30, 30]]))
    for seed in range(20):
        assert RandomCrop(1.0, 0.3, 0.5)(sample, generator(seed)).image.shape[1] in (3, 4, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiScale(()), r"^MultiScale: sizes must lie in 1\.\.1333, at least one; got \(\)$"),
        (lambda: MultiScale((20, 90), 80), r"^MultiScale: sizes must lie in 1\.\.80, at least one; got \(20, 90\)$"),
        (lambda: LargeScaleJitter(0), r"^LargeScaleJitter: size must be at least 1; got 0$"),
        (lambda: LargeScaleJitter(8, 2.0, 1.0), r"^LargeScaleJitter: 0 < smallest <= largest must hold; got 2\.0, 1"),
        (lambda: LargeScaleJitter(8, fill=2), r"^LargeScaleJitter: fill must be in 0\.\.1; got 2$"),
        (lambda: RandomCrop(1.5), r"^RandomCrop: probability must be in 0\.\.1; got 1\.5$"),
        (lambda: RandomCrop(1, 0.0), r"^RandomCrop: 0 < smallest <= largest <= 1 must hold; got 0\.0, 1\.0$"),
    ],
)
def test_values_out_of_range(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
