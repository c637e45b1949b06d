"""Anchors of every pyramid level (Ren et al. 2015, section 3.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.models.config import FPN_STRIDES, AnchorConfig
from fastmrcnn.models.instances import Size
from fastmrcnn.ops import generate_anchors


def make_anchors(features: Sequence[Tensor], padded_size: Size, config: AnchorConfig) -> list[Tensor]:
    """Anchors centred on the cells' top-left corners, in the order (row, column, aspect ratio, size).

    Args:
        features: P2..P6, each [B, C, H_i, W_i]; their values do not matter.
        padded_size: (height, width) of the padded batch, px.

    Returns:
        For each level [H_i * W_i * A, 4], at least float32, px of the network's input; every image has the same.
    """
    feature_sizes = [(feature.shape[-2], feature.shape[-1]) for feature in features]
    if config.strides == "nominal":
        strides = [(stride, stride) for stride in FPN_STRIDES]
    else:
        height, width = padded_size
        strides = [(height // rows, width // columns) for rows, columns in feature_sizes]
    anchors: list[Tensor] = generate_anchors(
        padded_size,
        feature_sizes,
        strides,
        config.sizes,
        [config.aspect_ratios] * len(features),
        rounded=config.rounded,
        dtype=torch.promote_types(features[0].dtype, torch.float32),
        device=features[0].device,
    )
    return anchors
