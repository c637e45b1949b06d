"""Sizes and pixels as detectron2's users have them: its rule for sizes, Pillow's filter, BGR in 0..255."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fastmrcnn.models import InputConfig, padding
from fastmrcnn.models.resampling import nearest_size, nearest_size_at_once, resize_in_8_bits, resize_in_fixed_point
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


def fixed_point_plainly(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """OpenCV's bilinear rule for bytes, value by value: [H, W, 3] -> [h, w, 3] uint8."""

    def taps(source: int, target: int, pixel: int) -> tuple[int, int, float]:
        position = np.float32((pixel + 0.5) * (source / target) - 0.5)
        first = int(np.floor(position))
        return first, first + 1, float(position - np.float32(first))

    height, width = image.shape[:2]
    image = image.astype(np.int64)
    across = np.zeros((height, size[1], 3), np.int64)
    for x in range(size[1]):
        left, right, share = taps(width, size[1], x)
        if left < 0 or left >= width - 1:
            share = 0.0
        left, right = (min(max(column, 0), width - 1) for column in (left, right))
        across[:, x] = image[:, left] * int(np.rint((1 - share) * 2048)) + image[:, right] * int(np.rint(share * 2048))
    resized = np.zeros((*size, 3), np.uint8)
    for y in range(size[0]):
        upper, lower, share = taps(height, size[0], y)
        parts = [
            ((across[min(max(row, 0), height - 1)] >> 4) * int(np.rint(weight * 2048))) >> 16
            for row, weight in ((upper, 1 - share), (lower, share))
        ]
        resized[y] = (parts[0] + parts[1] + 2) >> 2
    return resized


@pytest.mark.parametrize(("source", "target"), SHAPES)
def test_the_fixed_point_rule(source: tuple[int, int], target: tuple[int, int]) -> None:
    image = random_bytes(*source)
    expected = fixed_point_plainly(image.numpy().transpose(1, 2, 0), target)
    resized = resize_in_fixed_point(image, target)
    assert resized.dtype == torch.uint8
    np.testing.assert_array_equal(resized.numpy().transpose(1, 2, 0), expected)


RECORDED = [
    [3, 44, 154, 237, 133, 30, 45, 78, 90],
    [82, 93, 125, 147, 105, 64, 63, 69, 72],
    [200, 168, 81, 12, 64, 115, 91, 57, 44],
    [126, 129, 139, 141, 100, 59, 82, 113, 126],
    [77, 104, 177, 227, 124, 22, 75, 151, 180],
]


def test_the_fixed_point_rule_is_opencvs() -> None:
    """Recorded from OpenCV 5.0: cv2.resize(image, (9, 5), interpolation=cv2.INTER_LINEAR)."""
    image = torch.tensor([[3, 250, 17, 90], [200, 6, 121, 44], [77, 240, 9, 180]], dtype=torch.uint8).expand(3, 3, 4)
    assert resize_in_fixed_point(image, (5, 9))[0].tolist() == RECORDED
    assert torch.equal(resize_in_fixed_point(image.float() / 255, (5, 9)), resize_in_fixed_point(image, (5, 9)))


def test_sizes_in_one_step() -> None:
    assert nearest_size_at_once(480, 640, 800, 1333) == (800, 1067)
    assert nearest_size_at_once(3, 62, 800, 1333) == (65, 1333)  # nearest_size says 64
    config = InputConfig(size_rounding="nearest_at_once", resampling="opencv")
    assert InputTransform(config).eval().target_size(3, 62) == (65, 1333)
    assert nearest_size_at_once(1, 4000, 800, 1333) == (1, 1333)


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
