"""Feature pyramid network (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.blocks import ConvNorm, add_convolved, init_conv
from fastmrcnn.models.config import FPNConfig
from fastmrcnn.ops.feature_pyramid import subsample


class FPN(nn.Module):
    """C2..C5 -> P2..P6, all with the same number of channels.

    A 1x1 lateral convolution of each stage, the top-down path over these, and a 3x3 convolution that smooths each sum.
    P6 subsamples P5 by two. ``ops.FeaturePyramidNetwork`` is the same under torchvision's names.
    """

    def __init__(self, stage_channels: Sequence[int], config: FPNConfig) -> None:
        super().__init__()
        channels = config.channels
        conv = partial(ConvNorm, norm=config.norm, eps=config.norm_eps)
        self.lateral = nn.ModuleList(conv(inputs, channels, 1) for inputs in stage_channels)
        self.output = nn.ModuleList(conv(channels, channels, 3) for _ in stage_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_conv(module, partial(nn.init.kaiming_uniform_, a=1))  # a=1: no rectifier follows

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """C2..C5, each [B, C_i, H_i, W_i] -> P2..P6, each [B, channels, H_i, W_i]; P6 has half the size of P5."""
        merged = [self.lateral[-1](features[-1])]  # coarse to fine
        for lateral, feature in list(zip(self.lateral, features, strict=True))[-2::-1]:
            enlarged = F.interpolate(merged[-1], size=feature.shape[-2:], mode="nearest")
            assert isinstance(lateral, ConvNorm)
            # Not ops' merge_top_down: an optimised model sums within the convolution.
            merged.append(add_convolved(lateral, feature, enlarged))
        pyramid = [output(level) for output, level in zip(self.output, reversed(merged), strict=True)]
        return [*pyramid, subsample(pyramid[-1])]
