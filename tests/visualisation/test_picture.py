"""What is shown of images with any number of channels and any depth."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastmrcnn.visualisation import as_picture, draw_instances

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (7, [0, 1, 2])])
def test_which_channels_are_shown(channels: int, shown: list[int]) -> None:
    pixels = GENERATOR.integers(0, 256, (5, 4, channels), dtype=np.uint8)
    assert np.array_equal(as_picture(pixels), pixels[:, :, shown])
    fractions = (pixels / 255).astype(np.float32)
    assert np.array_equal(as_picture(fractions), pixels[:, :, shown])
    assert np.array_equal(np.asarray(draw_instances(fractions, [])), pixels[:, :, shown])


def test_without_a_channel_axis_it_is_grey() -> None:
    assert as_picture(np.array([[0, 7]], np.uint8)).tolist() == [[[0, 0, 0], [7, 7, 7]]]


def test_a_dark_deep_image_is_made_bright_and_one_hot_pixel_does_not_count() -> None:
    pixels = np.linspace(0, 0.05, 4000, dtype=np.float32).reshape(50, 80)
    shown = as_picture(pixels)
    assert shown.min() == 0
    assert shown.max() == 255
    pixels[3, 5] = 1.0
    assert np.abs(as_picture(pixels)[4:].astype(int) - shown[4:]).max() <= 1


def test_what_is_bright_enough_or_black_stays() -> None:
    half = np.full((4, 4), 0.5, np.float32)
    assert (as_picture(half) == 128).all()
    assert (as_picture(np.zeros((4, 4, 3), np.float32)) == 0).all()
    assert as_picture(np.zeros((0, 4, 3), np.float32)).shape == (0, 4, 3)


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.zeros((4, 4, 3), np.uint16), "got uint16 [4, 4, 3]"),
        (np.zeros(4, np.uint8), "got uint8 [4]"),
        (np.zeros((4, 4, 0), np.uint8), "got uint8 [4, 4, 0]"),
        (np.full((2, 2), 7.0), "image must be in 0..1 where it is float; got 7 to 7"),
        (np.full((2, 2), np.nan), "got nan to nan"),
    ],
)
def test_what_cannot_be_shown(pixels: np.ndarray, found: str) -> None:
    with pytest.raises(ValueError, match=re.escape(found)):
        as_picture(pixels)
