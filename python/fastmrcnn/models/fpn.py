"""Feature pyramid network (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from fastmrcnn.models.blocks import ConvNorm, init_conv
from fastmrcnn.models.config import FPNConfig
from fastmrcnn.ops.feature_pyramid import merge_top_down, subsample


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
        laterals = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        pyramid = [output(merged) for output, merged in zip(self.output, merge_top_down(laterals), strict=True)]
        return [*pyramid, subsample(pyramid[-1])]
