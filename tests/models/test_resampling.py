"""Sizes and pixels as detectron2's users have them: its rule for sizes, Pillow's filter, BGR in 0..255."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fastmrcnn.models import InputConfig, padding
from fastmrcnn.models.resampling import nearest_size, resize_in_8_bits
from fastmrcnn.models.transform import InputTransform


def reference_size(height: int, width: int, shorter: int, longest: int) -> tuple[int, int]:
    """The shorter edge to `shorter`; then, if need be, the longer one back to `longest`; to the nearest pixel."""
    scale = shorter * 1.0 / min(height, width)
    new_height, new_width = (shorter, scale * width) if height < width else (scale * height, shorter)
    if max(new_height, new_width) > longest:
        scale = longest * 1.0 / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    return int(new_height + 0.5), int(new_width + 0.5)


@pytest.mark.parametrize(("shorter", "longest"), [(800, 1333), (640, 1333), (736, 1333), (1024, 1024)])
def test_sizes_are_those_of_the_reference(shorter: int, longest: int) -> None:
    rng = np.random.default_rng(shorter)
    sizes = [(480, 640), (640, 480), (500, 500), (3, 62), (124, 6), (13, 86), (27, 2048), (7, 2666)]
    sizes += [(int(height), int(width)) for height, width in rng.integers(40, 3000, (5000, 2))]
    for height, width in sizes:
        expected = reference_size(height, width, shorter, longest)
        assert nearest_size(height, width, shorter, longest) == tuple(max(side, 1) for side in expected)


def test_sizes_half_way_between_two_depend_on_the_order_of_the_steps() -> None:
    one_step = min(800 / 3, 1333 / 62) * 3
    assert int(one_step + 0.5) == 65
    assert nearest_size(3, 62, 800, 1333) == (64, 1333)


def test_sizes_without_enlarging() -> None:
    config = InputConfig(min_size=100, max_size=200, size_rounding="nearest", enlarge=False)
    transform = InputTransform(config).eval()
    assert transform.target_size(50, 70) == (50, 70)
    assert transform.target_size(300, 301) == (100, 100)
    assert transform.target_size(50, 333) == (30, 200)


SHAPES = [
    ((50, 70), (120, 168)),
    ((200, 333), (57, 95)),
    ((13, 7), (7, 13)),
    ((31, 64), (31, 40)),
    ((31, 64), (60, 64)),
]


def random_bytes(*size: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8))


def pillows(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    rows = Image.fromarray(np.ascontiguousarray(image.numpy().transpose(1, 2, 0)))
    return torch.from_numpy(np.array(rows.resize(size[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1))


@pytest.mark.parametrize(("source", "target"), SHAPES)
def test_the_bits_are_pillows(source: tuple[int, int], target: tuple[int, int]) -> None:
    image = random_bytes(*source)
    assert torch.equal(resize_in_8_bits(image, target), pillows(image, target))


@pytest.mark.parametrize(("source", "target"), SHAPES)
def test_what_a_gpu_computes_is_off_by_one_at_most(
    source: tuple[int, int], target: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(padding, "reading_is_free", lambda _: False)
    image = random_bytes(*source)
    difference = (resize_in_8_bits(image, target).int() - pillows(image, target).int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.2  # the smallest shape has most values half-way


def test_floats_are_rounded_to_8_bits_even_where_the_size_stays() -> None:
    image = random_bytes(20, 30)
    floats = image.float() / 255 + 0.4 / 255
    floats[0, 0, 0] = 1.7  # brighter than white
    expected = image.clone()
    expected[0, 0, 0] = 255
    assert torch.equal(resize_in_8_bits(floats, (20, 30)), expected)
    assert torch.equal(resize_in_8_bits(floats, (33, 44)), pillows(expected, (33, 44)))


@pytest.mark.parametrize("as_float", [False, True])
def test_the_network_sees_bgr_in_0_to_255(as_float: bool) -> None:
    config = InputConfig(
        min_size=40,
        max_size=80,
        resampling="pil",
        channel_order="bgr",
        pixel_max=255.0,
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        size_divisor=1,
    )
    image = random_bytes(20, 30)
    batch = InputTransform(config).eval()([image.float() / 255 if as_float else image])
    pixels = pillows(image, (40, 60)).numpy()[::-1].astype(np.float32)  # blue first
    expected = (pixels - np.float32(config.mean)[:, None, None]) / np.float32(config.std)[:, None, None]
    assert batch.sizes == [(40, 60)]
    np.testing.assert_array_equal(batch.pixels[0].numpy(), expected)


def test_white_is_what_the_configuration_says() -> None:
    config = InputConfig(min_size=8, max_size=8, pixel_max=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    transform = InputTransform(config).eval()
    assert (transform([torch.ones(3, 8, 8)]).pixels[..., :8, :8] == 255).all()
    assert (transform([torch.full((3, 8, 8), 255, dtype=torch.uint8)]).pixels[..., :8, :8] == 255).all()
