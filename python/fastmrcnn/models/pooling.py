"""RoIAlign over the network's feature pyramid (Lin et al. 2017, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastmrcnn.models.config import RoIAlignConfig
from fastmrcnn.ops import multiscale_roi_align

LEVELS = (2, 3, 4, 5)  # RoIs are pooled from P2..P5; P6 serves the RPN only


def pool_pyramid(features: Sequence[Tensor], boxes: Tensor | Sequence[Tensor], config: RoIAlignConfig) -> Tensor:
    """Pool each box from its level; boxes keep their precision under autocast.

    Args:
        features: P2.. (further levels are ignored), each [B, C, H_i, W_i].
        boxes: for each image [K_b, 4] float32, px of the network's input; or [K, 5] with the image's index in front.

    Returns:
        [K, C, S, S] in the features' dtype, in the order of the boxes. Differentiable in ``features``.
    """
    return multiscale_roi_align(
        features[: len(LEVELS)],
        boxes,
        config.output_size,
        [2.0**-level for level in LEVELS],
        config.sampling_ratio,
        config.aligned,
        finest_level=LEVELS[0],
        canonical_scale=config.canonical_scale,
        canonical_level=config.canonical_level,
        level_rule=config.level_rule,
    )
