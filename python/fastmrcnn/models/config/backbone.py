"""The configuration of the feature maps: backbone and pyramid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fastmrcnn.models.config.checks import (
    require,
    require_choice,
    require_norm_groups,
    require_not_negative,
    require_positive,
)

# "gn": at most 32 groups, of 8 channels or more where the width allows. "gn32": 32 groups at any width, as Wu and He
# (2018) have it, and detectron2.
Norm = Literal["none", "frozen_bn", "bn", "sync_bn", "gn", "gn32"]
Depth = Literal[18, 34, 50, 101, 152]
PoolPadding = Literal["symmetric", "same"]
# What proposals and heads read. "fpn": the pyramid P2..P6. "c4": stage 4; stage 5 becomes the trunk of the heads (He et
# al. 2016). "c5": stage 5, at stride 32, or 16 with a dilated backbone (DC5, Dai et al. 2017).
Neck = Literal["fpn", "c4", "c5"]


@dataclass(frozen=True)
class BackboneConfig:
    """ResNet (He et al. 2016) or ResNeXt (Xie et al. 2017, whose 101-32x8d has 32 groups of width 8)."""

    depth: Depth = 50
    width: int = 64  # channels of the stem; the four stages have width * (1, 2, 4, 8) (* 4 with bottlenecks)
    groups: int = 1  # of the 3x3 convolutions of bottlenecks
    group_width: int = 64  # channels of a group in stage 2, where the stem has 64; doubled from stage to stage
    # Where a bottleneck strides: in its first 1x1 convolution (the paper, detectron2, Matterport) or in
    # the 3x3 one (torchvision, "v1.5").
    stride_in_1x1: bool = False
    dilated: bool = False  # stage 5 keeps the stride of stage 4 and dilates its 3x3 convolutions by two: DC5
    norm: Norm = "frozen_bn"
    norm_eps: float = 1e-5
    conv_bias: bool = False  # convolutions have a bias although a normalisation follows (Matterport)
    # The stem's 3x3 max pool of stride 2 is padded on all sides, or at the bottom and the right alone, as TensorFlow's
    # SAME rule has it for even sizes (Matterport).
    pool_padding: PoolPadding = "symmetric"
    # How many of (stem, stage 2, .., stage 5), from the front, receive no gradient. Running statistics of "bn" still
    # follow the data there; "frozen_bn" holds them too.
    frozen_stages: int = 0
    # "bn" and "sync_bn" normalise by their running statistics in training too, and leave them (mmdetection).
    frozen_statistics: bool = False

    def __post_init__(self) -> None:
        require_choice(self, Depth, depth=self.depth)
        norms = [norm for norm in get_args(Norm) if norm != "none"]
        require(self.norm in norms, self, "norm must be frozen_bn, bn, sync_bn, gn or gn32", self.norm)
        require(self.width > 0 and self.width % 8 == 0, self, "width must be a positive multiple of 8", self.width)
        require_positive(self, groups=self.groups, group_width=self.group_width)
        require_not_negative(self, norm_eps=self.norm_eps)
        require(0 <= self.frozen_stages <= 5, self, "frozen_stages must lie in 0..5", self.frozen_stages)
        require_choice(self, PoolPadding, pool_padding=self.pool_padding)
        if not self.has_bottlenecks:
            plain = self.groups == 1 and self.group_width == 64 and not self.stride_in_1x1 and not self.dilated
            require(plain, self, "groups, stride_in_1x1 and dilated need bottlenecks, depth 50 or more", self.depth)
        inner = self.width * self.group_width // 64
        require(inner > 0, self, "group_width must leave groups of one channel or more", self.group_width)
        require_norm_groups(self, self.norm, width=self.width, group_width=self.inner_channels[0])

    @property
    def has_bottlenecks(self) -> bool:
        return self.depth >= 50

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Channels of C2..C5."""
        base = self.width * (4 if self.has_bottlenecks else 1)
        return (base, base * 2, base * 4, base * 8)

    @property
    def inner_channels(self) -> tuple[int, int, int, int]:
        """Channels of the 3x3 convolutions in the bottlenecks of each stage."""
        base = self.width * self.group_width // 64 * self.groups
        return (base, base * 2, base * 4, base * 8)

    @property
    def stage_strides(self) -> tuple[int, int, int, int]:
        """Input pixels per cell of C2..C5."""
        return (4, 8, 16, 16 if self.dilated else 32)


@dataclass(frozen=True)
class FPNConfig:
    """Feature pyramid (Lin et al. 2017): P2..P5 and the subsampled P6."""

    channels: int = 256
    norm: Norm = "none"  # after each convolution
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        require_positive(self, channels=self.channels)
        require_choice(self, Norm, norm=self.norm)
        require_norm_groups(self, self.norm, channels=self.channels)
        require_not_negative(self, norm_eps=self.norm_eps)
