"""`multiscale_roi_align` as a module, under torchvision's name and signature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from fastmrcnn.ops._rois import as_pair, as_rois
from fastmrcnn.ops.assign_levels import LevelRule
from fastmrcnn.ops.multiscale_roi_align import multiscale_roi_align

__all__ = ["MultiScaleRoIAlign"]


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
        image_height = max((height for height, _ in image_shapes), default=0)
        if image_height <= 0 or any(feature.shape[-2] == 0 for feature in features):
            raise ValueError(
                "MultiScaleRoIAlign: image_shapes and features must have heights, of which the scales are made; got "
                f"{list(image_shapes)} and {[list(feature.shape) for feature in features]}"
            )
        feature_levels = [round(math.log2(image_height / feature.shape[-2])) for feature in features]
        finest, coarsest = feature_levels[0], feature_levels[-1]
        if coarsest < finest:
            raise ValueError(f"MultiScaleRoIAlign: features must go from fine to coarse; got levels {feature_levels}")
        count = min(len(features), coarsest - finest + 1)  # a pyramid that skips levels has a feature for each box, too
        return multiscale_roi_align(
            features[:count],
            as_rois("MultiScaleRoIAlign", boxes),
            self.output_size,
            [2.0**-level for level in feature_levels[:count]],
            self.sampling_ratio,
            self.aligned,
            finest_level=finest,
            canonical_scale=self.canonical_scale,
            canonical_level=self.canonical_level,
            level_rule=self.level_rule,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(featmap_names={self.featmap_names}, output_size={self.output_size}, "
            f"sampling_ratio={self.sampling_ratio})"
        )
