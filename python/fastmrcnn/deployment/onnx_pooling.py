"""RoIAlign, over one map or a pyramid, in ONNX's standard operators; see :mod:`.onnx_values`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fastmrcnn.deployment.onnx_values import INT64, Value, columns, counting, ints, number, op, size_of
from fastmrcnn.ops import LevelRule
from fastmrcnn.ops import assign_levels as levels_of

FAR_AWAY = -1e6  # px: beyond the border samples are zero


def roi_align(
    input: Value,
    rois: Value,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Value:
    """[K, C, height, width] of RoIs [K, 5]; zeros where one is NaN, which means that another map has it."""
    boxes = columns(rois, 1, 5)
    return op.RoiAlign(
        input,
        op.Where(op.IsNaN(boxes), number(FAR_AWAY), boxes),
        op.Cast(op.Squeeze(columns(rois, 0, 1), ints(1)), to=INT64),
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode="avg",
        output_height=pooled_height,
        output_width=pooled_width,
        sampling_ratio=max(sampling_ratio, 0),
        spatial_scale=spatial_scale,
    )


def roi_pool(
    input: Value, rois: Value, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Value, Value]:
    """[K, C, height, width] of RoIs [K, 5], and where each maximum lies, which inference does not read."""
    boxes = columns(rois, 1, 5)
    rois = op.Concat(columns(rois, 0, 1), op.Where(op.IsNaN(boxes), number(FAR_AWAY), boxes), axis=1)
    pooled = op.MaxRoiPool(input, rois, pooled_shape=[pooled_height, pooled_width], spatial_scale=spatial_scale)
    return pooled, op.Cast(pooled, to=INT64)


def multiscale_roi_align(
    features: Sequence[Value],
    rois: Value,
    spatial_scales: Sequence[float],
    finest_level: int,
    canonical_scale: float,
    canonical_level: int,
    level_rule: LevelRule,
    sampling_ratio: int,
    aligned: bool,
    pooled_height: int,
    pooled_width: int,
) -> Value:
    """[K, C, height, width] in the order of the RoIs [K, 5], of which each map reads its own alone."""
    coarsest = finest_level + len(features) - 1
    levels = assign_levels(columns(rois, 1, 5), finest_level, coarsest, canonical_scale, canonical_level, level_rule)
    rows, pooled = [], []
    for level, (feature, scale) in enumerate(zip(features, spatial_scales, strict=True), start=finest_level):
        own = op.Squeeze(op.NonZero(op.Equal(levels, ints(level))), ints(0))
        rows.append(own)
        pooled.append(
            roi_align(feature, op.Gather(rois, own), scale, pooled_height, pooled_width, sampling_ratio, aligned)
        )
    order = op.Concat(*rows, axis=0)
    places = counting(size_of(rois, 0))
    return op.Gather(op.Concat(*pooled, axis=0), op.ScatterElements(places, order, places))


def assign_levels(
    boxes: Value,
    finest_level: int,
    coarsest_level: int,
    canonical_scale: float,
    canonical_level: int,
    level_rule: LevelRule,
) -> Value:
    """The level of each box [K, 4], [K] int64: as far as its area reaches."""
    sides = op.Sub(columns(boxes, 2, 4), columns(boxes, 0, 2))
    area = op.ReduceProd(sides, ints(1), keepdims=0)
    level = op.Expand(ints(finest_level), op.Shape(area))
    for border in level_borders(finest_level, coarsest_level, canonical_scale, canonical_level, level_rule):
        level = op.Add(level, op.Cast(op.GreaterOrEqual(area, number(border)), to=INT64))
    return level


def level_borders(
    finest_level: int, coarsest_level: int, canonical_scale: float, canonical_level: int, level_rule: LevelRule
) -> list[float]:
    """The least areas whose level is finest + 1, .., coarsest: what our own operator decides, found by bisection.

    The logarithm of the rule would have another last bit in another runtime, which decides at a border.
    """

    def level_of(bits: int) -> int:
        area = torch.tensor(bits, dtype=torch.int32).view(torch.float32)
        box = torch.stack((torch.zeros(()), torch.zeros(()), area, torch.ones(())))
        level = levels_of(
            box[None],
            finest_level,
            coarsest_level,
            canonical_scale=canonical_scale,
            canonical_level=canonical_level,
            level_rule=level_rule,
        )
        return int(level)

    borders = []
    for level in range(finest_level + 1, coarsest_level + 1):
        low, high = 0, 0x7F800000  # the bits of 0 and of infinity: in between they ascend with the numbers
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if level_of(middle) >= level else (middle + 1, high)
        borders.append(torch.tensor(low, dtype=torch.int32).view(torch.float32).item())
    return borders
