"""RoIAlign over the levels of a feature pyramid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fastmrcnn.ops._rois import as_pair, as_rois, empty, is_channels_last
from fastmrcnn.ops.roi_align import roi_align

__all__ = ["LevelRule", "MultiScaleRoIAlign", "assign_levels"]

LevelRule = Literal["torchvision", "detectron2"]


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
        boxes: `[K, 4]` corners x1, y1, x2, y2 in image pixels.
        finest_level, coarsest_level: the range that levels are clamped to; level l has stride 2^l.
        canonical_scale: side in pixels of the square that belongs to `canonical_level`.
        level_rule: how rounding at a level's border is broken, floor(c + log2(s / 224) + 1e-6) as torchvision has it
            or floor(c + log2(s / 224 + 1e-8)) as detectron2 has it, with s the square root of the area.

    Returns:
        `[K]` int64 levels in [finest_level, coarsest_level]. Boxes whose area is NaN or negative get the finest.

    Raises:
        ValueError: the shape or the rule is not as stated.

    Example:
        >>> assign_levels(torch.tensor([[0.0, 0, 50, 50], [0, 0, 224, 224], [0, 0, 900, 900]]), 2, 5)
        tensor([2, 4, 5])
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"assign_levels: boxes must be [K, 4]; got {list(boxes.shape)}")
    boxes = boxes.detach().to(torch.promote_types(boxes.dtype, torch.float32))
    sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    if level_rule == "torchvision":
        levels = torch.floor(canonical_level + torch.log2(sides / canonical_scale) + 1e-6)
    elif level_rule == "detectron2":
        levels = torch.floor(canonical_level + torch.log2(sides / canonical_scale + 1e-8))
    else:
        raise ValueError(f"assign_levels: level_rule must be 'torchvision' or 'detectron2'; got {level_rule!r}")
    return levels.nan_to_num(nan=finest_level).clamp(finest_level, coarsest_level).to(torch.int64)


class MultiScaleRoIAlign(nn.Module):
    """Pools every box from the pyramid level that fits its size.

    Which scale a level has follows from its size and that of the images, anew at each call: nothing is remembered.

    Args:
        featmap_names: names of the features to pool from, fine to coarse.
        output_size: bins of the pooled grid, (height, width) or one number for both.
        sampling_ratio: samples per bin along each axis, as for `roi_align`.
        canonical_scale, canonical_level: a square of this side in pixels belongs to this level, as `assign_levels`
            has it.
        aligned: as for `roi_align`. torchvision always pools with False, detectron2 with True.
        level_rule: as for `assign_levels`.

    Example:
        >>> pool = MultiScaleRoIAlign(["p2", "p3"], output_size=7, sampling_ratio=2)
        >>> features = {"p2": torch.rand(1, 8, 64, 64), "p3": torch.rand(1, 8, 32, 32)}
        >>> pool(features, [torch.tensor([[10.0, 10, 90, 70]])], [(256, 256)]).shape
        torch.Size([1, 8, 7, 7])
    """

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: int | Sequence[int],
        sampling_ratio: int,
        *,
        canonical_scale: int = 224,
        canonical_level: int = 4,
        aligned: bool = False,
        level_rule: LevelRule = "torchvision",
    ) -> None:
        super().__init__()
        self.featmap_names = list(featmap_names)
        self.output_size = as_pair("MultiScaleRoIAlign", output_size)
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level
        self.aligned = aligned
        self.level_rule: LevelRule = level_rule

    def forward(
        self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Pools `boxes` from `x`.

        Args:
            x: features by name, each `[N, C, H_l, W_l]`; names that are not in `featmap_names` are ignored.
            boxes: one `[L, 4]` tensor per image, corners in image pixels.
            image_shapes: (height, width) of each image before they were padded to one size.

        Returns:
            `[sum of L, C, height, width]` in the features' dtype, in the order of `boxes`.
        """
        features = [feature for name, feature in x.items() if name in self.featmap_names]
        if not features:
            raise ValueError(f"MultiScaleRoIAlign: none of {self.featmap_names} is among the features {list(x)}")
        image_height = max(height for height, _ in image_shapes)
        feature_levels = [round(math.log2(image_height / feature.shape[-2])) for feature in features]
        rois = as_rois("MultiScaleRoIAlign", boxes)  # [K, 5]
        if len(features) == 1:
            return self._pool(features[0], rois, feature_levels[0])

        finest, coarsest = feature_levels[0], feature_levels[-1]
        if coarsest < finest:
            raise ValueError(f"MultiScaleRoIAlign: features must go from fine to coarse; got levels {feature_levels}")
        levels = assign_levels(
            rois[:, 1:],
            finest,
            min(coarsest, finest + len(features) - 1),  # a pyramid that skips levels has a feature for each box, too
            canonical_scale=self.canonical_scale,
            canonical_level=self.canonical_level,
            level_rule=self.level_rule,
        )
        shape = (rois.shape[0], features[0].shape[1], *self.output_size)
        pooled = empty(features[0], shape, is_channels_last(features[0]))
        for index, (feature, level) in enumerate(zip(features, feature_levels, strict=True)):
            chosen = torch.where(levels == finest + index)[0]
            pooled[chosen] = self._pool(feature, rois[chosen], level)
        return pooled

    def _pool(self, feature: Tensor, rois: Tensor, level: int) -> Tensor:
        return roi_align(feature, rois, self.output_size, 2.0**-level, self.sampling_ratio, self.aligned)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(featmap_names={self.featmap_names}, output_size={self.output_size}, "
            f"sampling_ratio={self.sampling_ratio})"
        )
