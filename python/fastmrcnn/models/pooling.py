"""RoIAlign over a feature pyramid (Lin et al. 2017, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.models.config import FPN_STRIDES, RoIAlignConfig
from fastmrcnn.ops import roi_align

LEVELS = 4  # RoIs are pooled from P2..P5; P6 serves the RPN only
FINEST_LEVEL = 2


def assign_levels(boxes: Tensor, config: RoIAlignConfig) -> Tensor:
    """The pyramid level from which each box is pooled: the larger the box, the coarser (equation 1 of the paper).

    Args:
        boxes: [K, 4] float, x1, y1, x2, y2, px of the network's input.

    Returns:
        [K] int64: 0 for P2 .. 3 for P5. Boxes without area go to P2.
    """
    sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
    level = torch.floor(config.canonical_level + torch.log2(sides / config.canonical_scale) + config.level_eps)
    return level.clamp(FINEST_LEVEL, FINEST_LEVEL + LEVELS - 1).to(torch.int64) - FINEST_LEVEL


def pool_pyramid(features: Sequence[Tensor], boxes: Sequence[Tensor], config: RoIAlignConfig) -> Tensor:
    """Pool each box from its level, in the boxes' dtype: they keep full precision under autocast.

    Args:
        features: P2.. (further levels are ignored), each [B, C, H_i, W_i].
        boxes: for each image [K_b, 4] float32, px of the network's input.

    Returns:
        [K, C, S, S] in the features' dtype, image after image, K = sum of K_b. Differentiable in ``features``.
    """
    image_index = torch.cat([box.new_full((box.shape[0], 1), index) for index, box in enumerate(boxes)])  # [K, 1]
    rois = torch.cat((image_index, torch.cat(list(boxes))), dim=1)  # [K, 5]
    levels = assign_levels(rois[:, 1:], config)  # [K]
    size = config.output_size
    pooled = rois.new_zeros((rois.shape[0], features[0].shape[1], size, size))
    for level, (feature, stride) in enumerate(zip(features[:LEVELS], FPN_STRIDES[:LEVELS], strict=True)):
        chosen = torch.where(levels == level)[0]
        pooled[chosen] = roi_align(
            feature.to(rois.dtype),
            rois[chosen],
            size,
            spatial_scale=1.0 / stride,
            sampling_ratio=config.sampling_ratio,
            aligned=config.aligned,
        )
    return pooled.to(features[0].dtype)
