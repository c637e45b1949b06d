"""ResNet backbone (He et al. 2016), the part of it that a feature pyramid reads: C2..C5.

Bottlenecks stride in the 3x3 convolution ("ResNet v1.5"), as torchvision's do.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.blocks import ConvNorm
from fastmrcnn.models.config import BackboneConfig

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Stem(nn.Module):
    """7x7 convolution of stride 2, then a max pool of stride 2: C1, at stride 4."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, config.width, 7, stride=2, norm=config.norm, eps=config.norm_eps)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu_(self.conv1(images))  # [B, width, H/2, W/2]
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)  # [B, width, H/4, W/4]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the identity (or its projection); ResNet-18 and 34."""

    def __init__(self, inputs: int, outputs: int, stride: int, config: BackboneConfig) -> None:
        super().__init__()
        norm, eps = config.norm, config.norm_eps
        self.conv1 = ConvNorm(inputs, outputs, 3, stride=stride, norm=norm, eps=eps)
        self.conv2 = ConvNorm(outputs, outputs, 3, norm=norm, eps=eps)
        self.shortcut = make_shortcut(inputs, outputs, stride, config)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(F.relu_(self.conv1(x)))
        return F.relu_(residual + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand by four, and the identity (or its projection); ResNet-50 and 101."""

    def __init__(self, inputs: int, outputs: int, stride: int, config: BackboneConfig) -> None:
        super().__init__()
        norm, eps, inner = config.norm, config.norm_eps, outputs // 4
        self.conv1 = ConvNorm(inputs, inner, 1, norm=norm, eps=eps)
        self.conv2 = ConvNorm(inner, inner, 3, stride=stride, norm=norm, eps=eps)
        self.conv3 = ConvNorm(inner, outputs, 1, norm=norm, eps=eps)
        self.shortcut = make_shortcut(inputs, outputs, stride, config)

    def forward(self, x: Tensor) -> Tensor:
        residual = F.relu_(self.conv2(F.relu_(self.conv1(x))))
        return F.relu_(self.conv3(residual) + self.shortcut(x))


def make_shortcut(inputs: int, outputs: int, stride: int, config: BackboneConfig) -> nn.Module:
    """The identity where the shape stays, else a 1x1 projection."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return ConvNorm(inputs, outputs, 1, stride=stride, norm=config.norm, eps=config.norm_eps)


class ResNet(nn.Module):
    """Stem and four stages; returns the feature maps C2, C3, C4, C5 at strides 4, 8, 16, 32."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        block = Bottleneck if config.depth >= 50 else BasicBlock
        self.stem = Stem(config)
        self.stages = nn.ModuleList()
        inputs = config.width
        for index, (count, outputs) in enumerate(
            zip(BLOCKS_PER_STAGE[config.depth], config.stage_channels, strict=True)
        ):
            stride = 1 if index == 0 else 2
            blocks = [block(inputs, outputs, stride, config)]
            blocks += [block(outputs, outputs, 1, config) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.reset_parameters()
        self.freeze(config.frozen_stages)

    def reset_parameters(self) -> None:
        """He et al. 2015: normal weights that keep the variance of the backward signal; norms start as the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def freeze(self, stages: int) -> None:
        """Stop the gradients of the first ``stages`` of (stem, stage 2, .., stage 5)."""
        for module in (self.stem, *self.stages)[:stages]:
            module.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [B, 3, H, W] -> C2..C5, each [B, channels, ceil(H / stride), ceil(W / stride)]."""
        x = self.stem(images)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
