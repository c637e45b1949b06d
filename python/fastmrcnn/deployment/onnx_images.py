"""Normalising, resizing and padding in ONNX's standard operators; see :mod:`.onnx_values`."""

from __future__ import annotations

import torch

from fastmrcnn.deployment.detector import config_of
from fastmrcnn.deployment.onnx_values import (
    DOUBLE,
    FLOAT,
    INT64,
    UINT8,
    Value,
    as_float,
    constant,
    ints,
    number,
    op,
    size_of,
)
from fastmrcnn.models.config import InputConfig


def fit_images(images: Value, config: str) -> tuple[Value, Value, Value]:
    """:class:`~fastmrcnn.models.transform.InputTransform` for images of one size, [B, C, H, W]; what it gives, and what
    brings boxes back to the images, [1, 1, 4]."""
    settings = config_of(config)
    before = op.Shape(images, start=2, end=4)  # [2]: height, width
    size = target_size(before, settings)
    white = 255.0 if images.dtype == UINT8 else 1.0
    if settings.resampling in ("pil", "opencv"):
        grey = as_float(images) if white == 255.0 else _to_grey_levels(images)
        resize = _resize_in_8_bits if settings.resampling == "pil" else _resize_in_fixed_point
        pixels = _normalise(resize(grey, before, size), 255.0, settings)
    else:
        pixels = _resize(_normalise(as_float(images), white, settings), size, settings.resampling == "antialias")
    padding = op.Mod(op.Sub(ints(0), size), ints(settings.size_divisor))
    pixels = op.Pad(pixels, op.Concat(ints(0, 0, 0, 0, 0, 0), padding, axis=0), number(0))
    sizes = op.Expand(op.Unsqueeze(size, ints(0)), op.Concat(size_of(images, 0), ints(2), axis=0))
    scale = op.Cast(op.Div(_as_double(before), _as_double(size)), to=FLOAT)  # [2], of heights and widths
    return pixels, sizes, op.Reshape(op.Gather(scale, ints(1, 0, 1, 0)), ints(1, 1, 4))


def of_any_size(pixels: Value, _divisor: int) -> Value:
    """ONNX asks nobody for sizes."""
    return op.Identity(pixels)


def target_size(size: Value, config: InputConfig) -> Value:
    """(height, width) after resizing, [2] int64: :meth:`InputTransform.target_size` in double precision, as there."""
    sides = _as_double(size)
    shortest, longest = op.ReduceMin(sides), op.ReduceMax(sides)  # [1]
    shorter, most = _double(config.min_size), _double(config.max_size)
    if not config.shrink:
        shorter = op.Max(shorter, shortest)
    if config.size_rounding == "down":
        scale = op.Min(op.Div(shorter, shortest), op.Div(most, longest))
        scale = scale if config.enlarge else op.Min(scale, _double(1))
        return _at_least_one(op.Floor(op.Mul(sides, scale)))
    if not config.enlarge:
        shorter = op.Min(shorter, shortest)
    if config.size_rounding == "nearest_at_once":
        scale = op.Min(op.Div(most, longest), op.Div(shorter, shortest))
        return _at_least_one(op.Floor(op.Add(op.Mul(sides, scale), _double(0.5))))
    if config.size_rounding == "nearest_even":
        scale = op.Div(shorter, shortest)
        too_long = op.Greater(op.Round(op.Mul(longest, scale)), most)
        scale = op.Where(too_long, op.Div(most, longest), scale)
        return _at_least_one(op.Round(op.Mul(sides, scale)))
    sides = op.Where(op.Equal(sides, shortest), shorter, op.Mul(sides, op.Div(shorter, shortest)))
    longest = op.ReduceMax(sides)
    sides = op.Where(op.Greater(longest, most), op.Mul(sides, op.Div(most, longest)), sides)
    return _at_least_one(op.Floor(op.Add(sides, _double(0.5))))


def _double(value: float) -> Value:
    """[1] float64"""
    return constant(torch.tensor([value], dtype=torch.float64))


def _as_double(values: Value) -> Value:
    return op.Cast(values, to=DOUBLE)


def _at_least_one(sides: Value) -> Value:
    return op.Cast(op.Max(sides, _double(1)), to=INT64)


def _normalise(pixels: Value, white: float, config: InputConfig) -> Value:
    if white != config.pixel_max:
        pixels = op.Mul(op.Div(pixels, number(white)), number(config.pixel_max))
    if config.channel_order == "bgr":
        pixels = op.Gather(pixels, ints(2, 1, 0), axis=1)
    mean, deviation = (constant(torch.tensor(values)[:, None, None]) for values in (config.mean, config.std))
    return op.Div(op.Sub(pixels, mean), deviation)


def _resize(pixels: Value, size: Value, low_pass: bool) -> Value:
    """[B, C, H, W] float32 -> [B, C, h, w]"""
    sizes = op.Concat(op.Shape(pixels, start=0, end=2), size, axis=0)
    if not low_pass:
        return op.Resize(pixels, None, None, sizes, mode="linear")
    # Beyond the border there is nothing, rather than the border once more.
    return op.Resize(pixels, None, None, sizes, mode="linear", antialias=1, exclude_outside=1)


def _to_grey_levels(images: Value) -> Value:
    """Float in 0..1 to the nearest whole grey values, as float."""
    return op.Clip(op.Round(op.Mul(images, number(255))), number(0), number(255))


def _resize_in_8_bits(grey: Value, before: Value, size: Value) -> Value:
    """Pillow's bilinear filter up to values half-way between two grey ones: along the rows, rounded, down the columns,
    rounded."""
    across = op.Concat(op.Slice(before, ints(0), ints(1)), op.Slice(size, ints(1), ints(2)), axis=0)
    for step in (across, size):
        grey = op.Floor(op.Add(_resize(grey, step, low_pass=True), number(0.5)))
    return grey


def _resize_in_fixed_point(grey: Value, before: Value, size: Value) -> Value:
    """OpenCV's bilinear rule in whole numbers, as :func:`fastmrcnn.models.resampling.resize_in_fixed_point`."""
    whole = op.Cast(grey, to=INT64)
    left, right, left_weight, right_weight = _fixed_point_taps(before, size, 1, at_border=False)
    across = op.Add(
        op.Mul(op.Gather(whole, left, axis=3), left_weight), op.Mul(op.Gather(whole, right, axis=3), right_weight)
    )
    across = op.Div(across, ints(16))
    upper, lower, *weights = _fixed_point_taps(before, size, 0, at_border=True)
    rows = [
        op.Div(op.Mul(op.Gather(across, row, axis=2), op.Unsqueeze(weight, ints(1))), ints(65536))
        for row, weight in zip((upper, lower), weights, strict=True)
    ]
    return as_float(op.Div(op.Add(op.Add(*rows), ints(2)), ints(4)))


def _fixed_point_taps(before: Value, size: Value, axis: int, *, at_border: bool) -> tuple[Value, Value, Value, Value]:
    """For each pixel of one axis the two that it lies between, and their weights, in 1/2048; [target] int64."""
    source, target = (op.Slice(sides, ints(axis), ints(axis + 1)) for sides in (before, size))
    centres = op.Add(
        _as_double(op.Range(op.Constant(value_int=0), op.Squeeze(target), op.Constant(value_int=1))), _double(0.5)
    )
    position = as_float(op.Sub(op.Mul(centres, op.Div(_as_double(source), _as_double(target))), _double(0.5)))
    first = op.Floor(position)
    share = op.Sub(position, first)
    last = op.Sub(source, ints(1))
    if not at_border:
        beyond = op.Or(op.Less(first, number(0)), op.GreaterOrEqual(first, as_float(last)))
        share = op.Where(beyond, number(0), share)
    pixel = op.Cast(first, to=INT64)
    low, high = (op.Min(op.Max(place, ints(0)), last) for place in (pixel, op.Add(pixel, ints(1))))
    weights = [op.Cast(op.Round(op.Mul(part, number(2048))), to=INT64) for part in (op.Sub(number(1), share), share)]
    return low, high, weights[0], weights[1]
