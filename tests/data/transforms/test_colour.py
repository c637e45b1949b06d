"""Photometric changes: what each does to colours, and that they are the image's alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastmrcnn.data.transforms import ColorJitter
from fastmrcnn.data.transforms.colour import colour_matrix
from tests.data.transforms.samples import generator, make_sample, photograph


def test_jitter_changes_colours_alone() -> None:
    sample = photograph(8, 8, 2)
    changed = ColorJitter(0.5, 0.5, 0.5, 0.1)(sample, generator(3))
    assert changed.image.dtype == torch.uint8
    assert not torch.equal(changed.image, sample.image)
    assert changed.masks is sample.masks
    assert changed.boxes is sample.boxes
    assert torch.equal(ColorJitter(0, 0, 0)(sample, generator()).image, sample.image)


def test_brightness_multiplies_and_contrast_moves_about_the_mean() -> None:
    sample = replace(make_sample(2, 2, 1), image=torch.tensor([0.2, 0.4, 0.4, 0.6]).expand(3, 4).reshape(3, 2, 2))
    brighter = ColorJitter(0.5, 0, 0)(sample, generator(1)).image
    ratio = (brighter / sample.image).flatten()
    torch.testing.assert_close(ratio, ratio[:1].expand(12))
    assert abs(float(ratio[0]) - 1) > 0.01
    flatter = ColorJitter(0, 0.9, 0)(sample, generator(1)).image
    assert float(flatter.mean()) == pytest.approx(0.4)
    assert float(flatter.std()) < 0.95 * float(sample.image.std())


def test_saturation_and_hue_move_colours_in_their_plane_of_luma() -> None:
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(colour_matrix(1, 0), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(colour_matrix(0, 1), np.tile(luma, (3, 1)), atol=1e-6)
    turned = colour_matrix(0.7, 0.4)
    np.testing.assert_allclose(turned.sum(axis=1), np.ones(3), atol=1e-6)  # greys stay
    np.testing.assert_allclose(luma @ turned, luma, atol=1e-6)
    third = colour_matrix(1, 2 * math.pi / 3)
    np.testing.assert_allclose(np.linalg.matrix_power(third, 3), np.eye(3), atol=1e-6)  # a whole turn
    red = third @ [0.5, 0.1, 0.1]
    assert red.argmax() == 2  # has become blue
    np.testing.assert_allclose(colour_matrix(1, 0.2) @ colour_matrix(1, 0.3), colour_matrix(1, 0.5), atol=1e-6)


def test_the_bits_are_those_of_the_matrix() -> None:
    sample = replace(photograph(9, 7, 1), image=torch.rand(3, 9, 7, generator=generator(5)))
    rng = generator(2)
    brightness, contrast, saturation = (0.8 + 0.4 * float(torch.rand((), generator=rng)) for _ in range(3))
    angle = 2 * math.pi * (-0.1 + 0.2 * float(torch.rand((), generator=rng)))
    pixels = brightness * sample.image.double()
    pixels = contrast * pixels + (1 - contrast) * pixels.mean()
    expected = torch.einsum("kc,chw->khw", torch.from_numpy(colour_matrix(saturation, angle)), pixels).clamp(0, 1)
    torch.testing.assert_close(ColorJitter(0.2, 0.2, 0.2, 0.1)(sample, generator(2)).image.double(), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_images_of_any_depth_and_channels(channels: int) -> None:
    shallow = replace(make_sample(8, 8, 1), image=torch.randint(0, 256, (channels, 8, 8), dtype=torch.uint8))
    deep = replace(shallow, image=shallow.image / 255)
    expected = ColorJitter(0.3, 0.3, 0.3, 0.2)(shallow, generator(3)).image
    found = ColorJitter(0.3, 0.3, 0.3, 0.2)(deep, generator(3)).image
    assert (expected.dtype, found.dtype) == (torch.uint8, torch.float32)
    torch.testing.assert_close(found * 255, expected.float(), atol=0.51, rtol=0)
    assert not torch.equal(expected, shallow.image)
    assert torch.equal(deep.image, shallow.image / 255)  # as it was


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrast": float("nan")}, r"^ColorJitter: contrast must be in 0\.\.1; got nan$"),
        ({"saturation": -0.1}, r"^ColorJitter: saturation must be in 0\.\.1; got -0\.1$"),
        ({"hue": 0.6}, r"^ColorJitter: hue must be in 0\.\.0\.5; got 0\.6$"),
    ],
)
def test_values_out_of_range(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ColorJitter(**changes)
