"""TensorFlow's ``crop_and_resize`` over a pyramid, with Matterport's choice of levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.models import padding
from fastmrcnn.models.config import PoolerConfig
from fastmrcnn.models.instances import Size
from fastmrcnn.ops import assign_levels, roi_align


def crop_and_resize(
    features: Sequence[Tensor], strides: Sequence[int], boxes: Tensor | Sequence[Tensor], config: PoolerConfig
) -> Tensor:
    """One bilinear sample a cell, the outer ones on the corners of the RoI.

    Where rounding carries the last sample of a RoI that ends with the frame beyond the map, TensorFlow gives zeros now
    and then; here it is the map's last cell.

    Args:
        features: the maps to read, fine to coarse, each [B, C, H_i, W_i].
        strides: of the maps, px of the network's input a cell.
        boxes: as for :func:`pool_regions`, from their first to their last pixel: the frame's corners are the centres of
            the outer cells of every map.

    Returns:
        [K, C, S, S] in the features' dtype, in the order of the boxes. Differentiable in ``features``.
    """
    rois = padding.join_rois(boxes)
    frame = (features[0].shape[-2] * strides[0], features[0].shape[-1] * strides[0])
    if len(features) == 1:
        return crop_from(features[0], rois, frame, config.output_size)
    levels = levels_of(rois[:, 1:], frame, strides, config)
    if padding.reading_is_free(levels):
        rows = [torch.where(levels == level)[0] for level in range(len(features))]
        parts = [
            crop_from(feature, rois[own], frame, config.output_size)
            for feature, own in zip(features, rows, strict=True)
        ]
        return torch.cat(parts).index_select(0, torch.cat(rows).argsort())
    # Every level sees all RoIs, so that no shape depends on their sizes and nobody waits; one that is NaN pools to
    # zeros, costs little and passes no gradient.
    pooled: Tensor | None = None
    for level, feature in enumerate(features):
        own = torch.where((levels == level)[:, None], rois[:, 1:], math.nan)
        part = crop_from(feature, torch.cat((rois[:, :1], own), dim=1), frame, config.output_size)
        pooled = part if pooled is None else pooled + part
    assert pooled is not None
    return pooled


def crop_from(feature: Tensor, rois: Tensor, frame: Size, output_size: int) -> Tensor:
    """The samples of all RoIs [K, 5] from one map, [K, C, S, S]. frame: (height, width) of the network's input, px."""
    rows, columns = feature.shape[-2:]
    x = rois[:, 1::2] * ((columns - 1) / (frame[1] - 1))  # [K, 2] first and last, in cells from the centre of the first
    y = rois[:, 2::2] * ((rows - 1) / (frame[0] - 1))
    # RoIAlign with one sample a bin takes it in the bin's middle: the first lies on the RoI's corner where the RoI
    # begins half a bin before. It counts cells from their edges.
    corners = []
    for first, last in (x.unbind(1), y.unbind(1)):
        half_step = (last - first) / (2 * (output_size - 1))
        corners += [first - half_step + 0.5, last + half_step + 0.5]
    x1, x2, y1, y2 = corners
    grown = torch.stack((rois[:, 0], x1, y1, x2, y2), dim=1)
    return roi_align(feature, grown, output_size, 1.0, 1, aligned=True)


def levels_of(boxes: Tensor, frame: Size, strides: Sequence[int], config: PoolerConfig) -> Tensor:
    """Which of the maps, 0 the finest, each box [K, 4] is read from: [K] int64."""
    finest, coarsest = (int(math.log2(stride)) for stride in (strides[0], strides[-1]))
    if not config.nearest_level:
        levels: Tensor = assign_levels(
            boxes,
            finest,
            coarsest,
            canonical_scale=config.canonical_scale,
            canonical_level=config.canonical_level,
            level_rule=config.level_rule,
        )
        return levels - finest
    sides = boxes[:, 2:] - boxes[:, :2]
    # Sides are shares of a frame that is a pixel shorter than the one whose area they are compared with.
    height, width = frame
    areas = sides.prod(dim=1) * (height * width / ((height - 1) * (width - 1)))  # which stays open in a traced graph
    level = config.canonical_level + torch.log2(areas.sqrt() / config.canonical_scale).round()
    # An empty box has minus infinity, the finest level; NaN, of no box, must become some index too.
    return level.nan_to_num(nan=float(finest)).clamp(finest, coarsest).long() - finest
