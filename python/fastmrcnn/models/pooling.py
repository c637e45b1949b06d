"""RoIAlign over a feature pyramid (Lin et al. 2017, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.models.config import RoIAlignConfig
from fastmrcnn.ops import assign_levels, roi_align

FINEST, COARSEST = 2, 5  # RoIs are pooled from P2..P5; P6 serves the RPN only


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
    level_of = assign_levels(
        rois[:, 1:],
        FINEST,
        COARSEST,
        canonical_scale=config.canonical_scale,
        canonical_level=config.canonical_level,
        level_rule=config.level_rule,
    )  # [K]
    size = config.output_size
    shape = (rois.shape[0], features[0].shape[1], size, size)
    channels_last = features[0].is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    # Every RoI has exactly one level, so every row is written.
    pooled = torch.empty(shape, dtype=rois.dtype, device=rois.device, memory_format=layout)
    for level, feature in enumerate(features[: COARSEST - FINEST + 1], start=FINEST):
        chosen = torch.where(level_of == level)[0]
        pooled[chosen] = roi_align(
            feature.to(rois.dtype),
            rois[chosen],
            size,
            spatial_scale=2.0**-level,
            sampling_ratio=config.sampling_ratio,
            aligned=config.aligned,
        )
    return pooled.to(features[0].dtype)
