"""Anchor boxes on the cells of the feature maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, context, is_plain_eager, native

__all__ = ["generate_anchors"]

LIBRARY.define(
    "generate_anchors(SymInt[] feature_size, SymInt[] stride, float[] sizes, float[] aspect_ratios, bool rounded, "
    "bool sizes_first, ScalarType dtype, Device device) -> Tensor"
)


def _generate_anchors(
    feature_size: Sequence[int],
    stride: Sequence[int],
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    rounded: bool,
    sizes_first: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    anchors = torch.empty((*feature_size, len(sizes) * len(aspect_ratios), 4), dtype=dtype, device=device)
    if not anchors.is_meta:
        native.generate_anchors(context(anchors), stride, sizes, aspect_ratios, rounded, sizes_first, anchors)
    return anchors.view(-1, 4)


LIBRARY.impl("generate_anchors", _generate_anchors, "CompositeExplicitAutograd")  # no tensor tells the device


@torch.library.register_fake("fastmrcnn::generate_anchors", lib=LIBRARY)
def _generate_anchors_fake(
    feature_size: Sequence[int],
    stride: Sequence[int],
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    rounded: bool,
    sizes_first: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    rows, columns = feature_size
    return torch.empty((rows * columns * len(sizes) * len(aspect_ratios), 4), dtype=dtype, device=device)


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
    generate = _generate_anchors if is_plain_eager() else torch.ops.fastmrcnn.generate_anchors.default
    anchors = []
    for feature_size, stride, level_sizes, ratios in zip(feature_sizes, strides, sizes, aspect_ratios, strict=True):
        level = (list(map(float, level_sizes)), list(map(float, ratios)))
        anchors.append(generate(feature_size, stride, *level, rounded, sizes_first, dtype, torch.device(device)))
    return anchors
