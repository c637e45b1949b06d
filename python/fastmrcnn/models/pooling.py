"""Reading the features of regions (He et al. 2017, section 3; Lin et al. 2017, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.models.config import PoolerConfig
from fastmrcnn.models.crop_and_resize import crop_and_resize
from fastmrcnn.models.padding import join_rois
from fastmrcnn.ops import assign_levels, multiscale_roi_align, roi_align, roi_pool


def pool_regions(
    features: Sequence[Tensor], strides: Sequence[int], boxes: Tensor | Sequence[Tensor], config: PoolerConfig
) -> Tensor:
    """Read each box from its level; boxes keep their precision under autocast.

    Args:
        features: a single map, or P2..P6, of which P6 serves the RPN alone; each [B, C, H_i, W_i].
        strides: of the maps, px of the network's input a cell.
        boxes: for each image [K_b, 4] float32, px of the network's input; or [K, 5] with the image's index in front.

    Returns:
        [K, C, S, S] in the features' dtype, in the order of the boxes. Differentiable in ``features``.
    """
    if config.method == "roi_pool":
        return _roi_pool(features, strides, boxes, config)
    if config.method == "crop_and_resize":
        levels = features if len(features) == 1 else features[:-1]
        return crop_and_resize(levels, strides[: len(levels)], boxes, config)
    if len(features) == 1:
        return roi_align(
            features[0],
            boxes if isinstance(boxes, Tensor) else list(boxes),
            config.output_size,
            1 / strides[0],
            config.sampling_ratio,
            config.aligned,
        )
    return multiscale_roi_align(
        features[:-1],
        boxes,
        config.output_size,
        [1 / stride for stride in strides[:-1]],
        config.sampling_ratio,
        config.aligned,
        finest_level=int(math.log2(strides[0])),
        canonical_scale=config.canonical_scale,
        canonical_level=config.canonical_level,
        level_rule=config.level_rule,
    )


def _roi_pool(
    features: Sequence[Tensor], strides: Sequence[int], boxes: Tensor | Sequence[Tensor], config: PoolerConfig
) -> Tensor:
    """RoIPool of one map, or of each level of a pyramid with the other levels' regions blanked.

    Every level sees all regions, so that no shape depends on their sizes. A region that is NaN costs nothing, pools to
    zeros and passes no gradient.
    """
    rois = join_rois(boxes)
    if len(features) == 1:
        return roi_pool(features[0], rois, config.output_size, 1 / strides[0])
    finest, coarsest = int(math.log2(strides[0])), int(math.log2(strides[-2]))
    levels = assign_levels(
        rois[:, 1:],
        finest,
        coarsest,
        canonical_scale=config.canonical_scale,
        canonical_level=config.canonical_level,
        level_rule=config.level_rule,
    )

    def of_level(level: int, feature: Tensor) -> Tensor:
        own = torch.where((levels == level)[:, None], rois[:, 1:], math.nan)
        return roi_pool(feature, torch.cat((rois[:, :1], own), dim=1), config.output_size, 0.5**level)

    pooled = (of_level(finest + index, feature) for index, feature in enumerate(features[:-1]))
    return sum(pooled, start=features[0].new_zeros(()))
