"""Anchors of every feature map (Ren et al. 2015, section 3.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.models.config import AnchorConfig
from fastmrcnn.models.instances import Size
from fastmrcnn.ops import generate_anchors


def make_anchors(
    features: Sequence[Tensor], strides: Sequence[int], padded_size: Size, config: AnchorConfig
) -> list[Tensor]:
    """Anchors centred on the cells' top-left corners, in the order (row, column, aspect ratio, size), or, with
    ``sizes_first``, (row, column, size, aspect ratio).

    Args:
        features: each [B, C, H_i, W_i]; their values do not matter.
        strides: of the feature maps, px a cell; the configuration may prefer to measure them.
        padded_size: (height, width) of the padded batch, px.

    Returns:
        For each level [H_i * W_i * A, 4], at least float32, px of the network's input; every image has the same.
    """
    feature_sizes = [(feature.shape[-2], feature.shape[-1]) for feature in features]
    if config.strides == "nominal":
        steps = [(stride, stride) for stride in strides]
    else:
        height, width = padded_size
        steps = [(height // rows, width // columns) for rows, columns in feature_sizes]
    anchors: list[Tensor] = generate_anchors(
        padded_size,
        feature_sizes,
        steps,
        config.sizes,
        [config.aspect_ratios] * len(features),
        rounded=config.rounded,
        sizes_first=config.sizes_first,
        dtype=torch.promote_types(features[0].dtype, torch.float32),
        device=features[0].device,
    )
    return anchors
