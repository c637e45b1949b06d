"""Resizing, padding and the way back to the original pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastmrcnn.models import InputConfig
from fastmrcnn.models.transform import InputTransform, ceil_to_multiple, grow_empty_boxes, resize_masks, scale_boxes
from tests.models.small import images_of, target_of


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1066)),  # the shorter side at 800
        ((640, 480), (1066, 800)),
        ((500, 2000), (333, 1333)),  # the longer side at 1333
        ((800, 800), (800, 800)),
        ((1, 4000), (1, 1333)),  # never below one pixel
    ],
)
def test_target_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert InputTransform(InputConfig()).eval().target_size(*size) == expected


def test_small_images_keep_their_size_without_enlarging() -> None:
    transform = InputTransform(InputConfig(min_size=320, max_size=512, enlarge=False)).eval()
    assert transform.target_size(100, 150) == (100, 150)
    assert transform.target_size(640, 640) == (320, 320)


def test_training_draws_among_the_sizes() -> None:
    transform = InputTransform(InputConfig(min_size=100, max_size=300, train_min_sizes=(80, 100, 120)))
    drawn = {transform.train().target_size(50, 50) for _ in range(50)}
    assert drawn == {(80, 80), (100, 100), (120, 120)}
    assert {transform.eval().target_size(50, 50) for _ in range(50)} == {(100, 100)}


def test_unequal_images_are_padded_to_one_size() -> None:
    config = InputConfig(min_size=64, max_size=128, enlarge=False)
    images = images_of((40, 70), (64, 33))
    batch = InputTransform(config).eval()(images)
    assert batch.pixels.shape == (2, 3, 64, 96)
    assert batch.sizes == batch.original_sizes == [(40, 70), (64, 33)]
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    torch.testing.assert_close(batch.pixels[0, :, :40, :70], (images[0] - mean) / std)
    assert batch.pixels[0, :, 40:].abs().sum() == 0
    assert batch.pixels[1, :, :, 33:].abs().sum() == 0


def test_bytes_and_floats_are_the_same_image() -> None:
    transform = InputTransform(InputConfig(min_size=48, max_size=96)).eval()
    image = torch.randint(0, 256, (3, 30, 50), dtype=torch.uint8)
    torch.testing.assert_close(transform([image]).pixels, transform([image.float() / 255]).pixels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("resampling", ["antialias", "bilinear"])
def test_half_precision(resampling: Any, dtype: torch.dtype) -> None:
    transform = InputTransform(InputConfig(min_size=24, max_size=96, resampling=resampling)).eval()
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    expected = transform([image]).pixels
    found = transform.to(dtype)([image]).pixels
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.05)  # of values to 2.7


def test_targets_follow_their_images() -> None:
    transform = InputTransform(InputConfig(min_size=80, max_size=200)).eval()
    [image] = images_of((40, 60))
    batch = transform([image])
    assert batch.sizes == [(80, 120)]
    [target] = transform.targets([target_of(image, [[10, 5, 30, 25]], [2])], batch)
    assert target.boxes.tolist() == [[20, 10, 60, 50]]
    expected = torch.zeros(1, 80, 120, dtype=torch.uint8)
    expected[:, 10:50, 20:60] = 1
    assert torch.equal(target.masks, expected)
    torch.testing.assert_close(scale_boxes(target.boxes, (80, 120), (40, 60)), torch.tensor([[10.0, 5, 30, 25]]))


def test_no_masks() -> None:
    assert resize_masks(torch.zeros(0, 40, 60, dtype=torch.bool), (80, 120)).shape == (0, 80, 120)


def test_empty_boxes_grow_to_a_pixel() -> None:
    boxes = torch.tensor([[3.0, 4.0, 3.0, 4.0], [1.0, 2.0, 5.0, 2.0], [0.0, 0.0, 0.5, 9.0]])
    assert grow_empty_boxes(boxes).tolist() == [[3, 4, 4, 5], [1, 2, 5, 3], [0, 0, 0.5, 9]]


def test_ceil_to_multiple() -> None:
    assert [ceil_to_multiple(value, 32) for value in (1, 32, 33)] == [32, 32, 64]
