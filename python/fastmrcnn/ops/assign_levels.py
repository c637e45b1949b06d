"""Which level of a feature pyramid a box is pooled from."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, as_native_float, context, is_plain_eager, native, register_kernel

__all__ = ["LevelRule", "assign_levels"]

LevelRule = Literal["torchvision", "detectron2"]

LIBRARY.define(
    "assign_levels(Tensor boxes, int finest_level, int coarsest_level, float canonical_scale, int canonical_level, "
    "str level_rule) -> Tensor"
)


def _assign_levels(
    boxes: Tensor,
    finest_level: int,
    coarsest_level: int,
    canonical_scale: float,
    canonical_level: int,
    level_rule: str,
) -> Tensor:
    boxes = as_native_float(boxes).detach().contiguous()
    levels = torch.empty(boxes.shape[:1], dtype=torch.int64, device=boxes.device)
    native.assign_levels(
        context(boxes), boxes, finest_level, coarsest_level, canonical_scale, canonical_level, level_rule, levels
    )
    return levels


register_kernel("assign_levels", _assign_levels)


@torch.library.register_fake("fastmrcnn::assign_levels", lib=LIBRARY)
def _assign_levels_fake(
    boxes: Tensor,
    finest_level: int,
    coarsest_level: int,
    canonical_scale: float,
    canonical_level: int,
    level_rule: str,
) -> Tensor:
    torch._check(
        boxes.dim() == 2 and boxes.shape[1] == 4,
        lambda: f"assign_levels: boxes must be [K, 4]; got {list(boxes.shape)}",
    )
    return boxes.new_empty((boxes.shape[0],), dtype=torch.int64)


def assign_levels(
    boxes: Tensor,
    finest_level: int,
    coarsest_level: int,
    *,
    canonical_scale: float = 224,
    canonical_level: int = 4,
    level_rule: LevelRule = "torchvision",
) -> Tensor:
    """The pyramid level that each box is pooled from (Lin et al. 2017, Feature Pyramid Networks, equation 1).

    Args:
        boxes: `[K, 4]` corners x1, y1, x2, y2 in image pixels. float64 is computed in float64, everything else in
            float32.
        finest_level, coarsest_level: the range that levels are clamped to, 32 of them at most, in -1000..1000; level l
            has stride 2^l.
        canonical_scale: side in pixels of the square that belongs to `canonical_level`.
        level_rule: how rounding at a level's border is broken, floor(c + log2(s / 224) + 1e-6) as torchvision has it
            or floor(c + log2(s / 224 + 1e-8)) as detectron2 has it, with s the square root of the area.

    Returns:
        `[K]` int64 levels in [finest_level, coarsest_level]. Boxes whose area is NaN or negative get the finest. The
        same on every machine: areas are compared with the levels' borders, and no logarithm decides. Not
        differentiable.

    Raises:
        ValueError: the shape, the range of levels or the rule is not as stated, or the scale is not positive.

    Example:
        >>> assign_levels(torch.tensor([[0.0, 0, 50, 50], [0, 0, 224, 224], [0, 0, 900, 900]]), 2, 5)
        tensor([2, 4, 5])
    """
    kernel = _assign_levels if is_plain_eager(boxes) else torch.ops.fastmrcnn.assign_levels.default
    return kernel(boxes, finest_level, coarsest_level, float(canonical_scale), canonical_level, level_rule)
