"""Reading the features of regions (He et al. 2017, section 3; Lin et al. 2017, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from fastmrcnn.models.config import PoolerConfig
from fastmrcnn.ops import multiscale_roi_align, roi_align


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
