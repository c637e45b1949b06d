"""Anchor boxes on the cells of the feature maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.ops._library import is_plain_eager, native

__all__ = ["generate_anchors"]


def generate_anchors(
    image_size: tuple[int, int],
    feature_sizes: Sequence[tuple[int, int]],
    strides: Sequence[tuple[int, int]] | None,
    sizes: Sequence[Sequence[float]],
    aspect_ratios: Sequence[Sequence[float]],
    *,
    rounded: bool = True,
    sizes_first: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> list[Tensor]:
    """The anchors of every level of a feature pyramid.

    Ren et al., "Faster R-CNN", section 3.1.1. The anchors of the cell in row i and column j are centred on
    (j * horizontal stride, i * vertical stride).

    Args:
        image_size: (height, width) of the padded batch in pixels.
        feature_sizes: for each level, (height, width) of its map in cells.
        strides: for each level, (vertical, horizontal) distance of cells in pixels; None takes `image_size` divided by
            the map's size, rounded down, as torchvision does.
        sizes: for each level, the square roots of the anchors' areas in pixels.
        aspect_ratios: for each level, the ratios height / width.
        rounded: corners relative to the centre are rounded to whole pixels, half to even (torchvision); otherwise they
            are exact (detectron2).
        sizes_first: within a cell, ratios run inside sizes (detectron2) instead of sizes inside ratios (torchvision);
            the same thing for one size a level.
        dtype: float32 or float64. The corners relative to the centre are float32 in either.
        device: of the result.

    Returns:
        For each level `[height * width * A, 4]`, x1, y1, x2, y2 in pixels, rows of cells outermost, then columns, then
        the A = sizes * ratios anchors of a cell. Not clipped to the image.

    Raises:
        ValueError: the arguments differ in their number of levels, or another dtype.

    Example:
        >>> [level] = generate_anchors((32, 64), [(1, 2)], [(32, 32)], [(32,)], [(1.0,)])
        >>> level
        tensor([[-16., -16.,  16.,  16.],
                [ 16., -16.,  48.,  16.]])
    """
    levels = len(feature_sizes)
    if strides is None:
        strides = [(image_size[0] // max(rows, 1), image_size[1] // max(columns, 1)) for rows, columns in feature_sizes]
    for argument, values in (("strides", strides), ("sizes", sizes), ("aspect_ratios", aspect_ratios)):
        if len(values) != levels:
            raise ValueError(f"generate_anchors: {argument} must have {levels} levels; got {len(values)}")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"generate_anchors: dtype must be float32 or float64; got {dtype}")
    device = torch.device(device)
    level = _level_kernel if device.type == "cpu" and is_plain_eager() else _level_formula
    return [
        level(*geometry, rounded, sizes_first, dtype, device)
        for geometry in zip(feature_sizes, strides, sizes, aspect_ratios, strict=True)
    ]


def _level_kernel(
    feature_size: tuple[int, int],
    stride: tuple[int, int],
    sizes: Sequence[float],
    ratios: Sequence[float],
    rounded: bool,
    sizes_first: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    anchors = torch.empty((*feature_size, len(sizes) * len(ratios), 4), dtype=dtype, device=device)
    native.generate_anchors((torch.get_num_threads(), 0), stride, sizes, ratios, rounded, sizes_first, anchors)
    return anchors.view(-1, 4)


def _level_formula(
    feature_size: tuple[int, int],
    stride: tuple[int, int],
    sizes: Sequence[float],
    ratios: Sequence[float],
    rounded: bool,
    sizes_first: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """What the kernel computes, for compilers and other devices."""
    half = _rounded_half_sides(sizes, ratios) if rounded else _exact_half_sides(sizes, ratios)  # [ratios, sizes, 2]
    half = (half.transpose(0, 1) if sizes_first else half).reshape(-1, 2)
    cell = torch.cat((-half, half), dim=1).to(device, dtype, non_blocking=device.type == "cuda")  # [A, 4]
    y, x = (torch.arange(cells, device=device) * step for cells, step in zip(feature_size, stride, strict=True))
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # [height, width, 2]
    return (centres.repeat(1, 1, 2)[:, :, None] + cell).view(-1, 4)


def _rounded_half_sides(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    size, height_factor = torch.tensor(sizes, dtype=torch.float32), torch.tensor(ratios, dtype=torch.float32).sqrt()
    factors = torch.stack((1 / height_factor, height_factor), dim=-1)  # [ratios, 2]
    return (factors[:, None] * size[:, None] / 2).round()


def _exact_half_sides(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    widths = [[math.sqrt(size * size / ratio) for size in sizes] for ratio in ratios]
    half = [[(width / 2, ratio * width / 2) for width in row] for row, ratio in zip(widths, ratios, strict=True)]
    return torch.tensor(half, dtype=torch.float32)
