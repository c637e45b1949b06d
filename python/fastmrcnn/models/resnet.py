"""ResNet (He et al. 2016) and ResNeXt (Xie et al. 2017) backbones, the part that detection reads: C2..C5."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.blocks import ConvNorm, add_convolved, init_conv
from fastmrcnn.models.config import BackboneConfig

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Stem(nn.Module):
    """7x7 convolution of stride 2, then a max pool of stride 2: C1, at stride 4."""

    def __init__(self, config: BackboneConfig, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = conv_maker(config)(channels, config.width, 7, stride=2)
        self.pool_padding = config.pool_padding

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images, relu=True)  # [B, width, H/2, W/2]
        if self.pool_padding == "symmetric":
            return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)  # [B, width, H/4, W/4]
        return F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)  # windows begin at even pixels


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the identity (or its projection); ResNet-18 and 34."""

    def __init__(self, inputs: int, outputs: int, stride: int, config: BackboneConfig) -> None:
        super().__init__()
        conv = conv_maker(config)
        self.conv1 = conv(inputs, outputs, 3, stride=stride)
        self.conv2 = conv(outputs, outputs, 3)
        self.shortcut = make_shortcut(inputs, outputs, stride, config)

    def forward(self, x: Tensor, filled: Tensor | None = None) -> Tensor:
        residual = self.conv2(self.conv1(x, filled, relu=True), filled)
        return F.relu_(residual.add_(self.shortcut(x, filled)))


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand, and the identity (or its projection); ResNet-50 and deeper."""

    def __init__(
        self, inputs: int, inner: int, outputs: int, config: BackboneConfig, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        conv = conv_maker(config)
        first, second = (stride, 1) if config.stride_in_1x1 else (1, stride)
        self.conv1 = conv(inputs, inner, 1, stride=first)
        self.conv2 = conv(inner, inner, 3, stride=second, dilation=dilation, groups=config.groups)
        self.conv3 = conv(inner, outputs, 1)
        self.shortcut = make_shortcut(inputs, outputs, stride, config)

    def forward(self, x: Tensor, filled: Tensor | None = None) -> Tensor:
        residual = self.conv2(self.conv1(x, filled, relu=True), filled, relu=True)
        # Never written over what others read, the input of a stage: the first block has a projection.
        return add_convolved(self.conv3, residual, self.shortcut(x, filled), filled, relu=True)


class Unchanged(nn.Module):
    """The shortcut of a block that keeps the shape."""

    def forward(self, x: Tensor, filled: Tensor | None = None) -> Tensor:
        return x


class Stage(nn.Sequential):
    """Blocks one after the other; ``filled`` as for :class:`~fastmrcnn.models.blocks.ConvNorm`."""

    def forward(self, x: Tensor, filled: Tensor | None = None) -> Tensor:
        for block in self:
            x = block(x, filled)
        return x


def conv_maker(config: BackboneConfig) -> partial[ConvNorm]:
    """What makes the backbone's convolutions, each with its normalisation."""
    return partial(ConvNorm, norm=config.norm, eps=config.norm_eps, bias=config.conv_bias)


def make_shortcut(inputs: int, outputs: int, stride: int, config: BackboneConfig) -> nn.Module:
    """The identity where the shape stays, else a 1x1 projection."""
    if inputs == outputs and stride == 1:
        return Unchanged()
    return conv_maker(config)(inputs, outputs, 1, stride=stride)


def make_stage(config: BackboneConfig, index: int) -> Stage:
    """Stage 2 + ``index``, which makes C2 of the stem's output, C3 of C2, and so on."""
    outputs, inner = config.stage_channels[index], config.inner_channels[index]
    inputs = config.stage_channels[index - 1] if index > 0 else config.width
    dilation = 2 if config.dilated and index == 3 else 1
    stride = 1 if index == 0 or dilation > 1 else 2
    blocks: list[nn.Module] = []
    for _ in range(BLOCKS_PER_STAGE[config.depth][index]):
        if config.has_bottlenecks:
            blocks.append(Bottleneck(inputs, inner, outputs, config, stride=stride, dilation=dilation))
        else:
            blocks.append(BasicBlock(inputs, outputs, stride, config))
        inputs, stride = outputs, 1
    return Stage(*blocks)


def hold_statistics(part: nn.Module) -> None:
    """Let "bn" and "sync_bn" normalise by their running statistics in training mode too, and leave these."""
    for module in part.modules():
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            module.eval()


def init_parameters(part: nn.Module) -> None:
    """He et al. 2015: normal weights that keep the variance of the backward signal; norms start as the identity."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            init_conv(module, partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"))
        elif isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm | nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


class ResNet(nn.Module):
    """Stem and stages; returns the feature maps C2, C3, ... at the strides of ``config.stage_strides``.

    Args:
        stages: how many of the four to build, from the front. C4 models keep the last one for their heads.
        channels: of the images.
    """

    def __init__(self, config: BackboneConfig, stages: int = 4, channels: int = 3) -> None:
        super().__init__()
        self.stem = Stem(config, channels)
        self.stages = nn.ModuleList(make_stage(config, index) for index in range(stages))
        init_parameters(self)
        self.freeze(config.frozen_stages)
        self.frozen_statistics = config.frozen_statistics
        self.train()

    def train(self, mode: bool = True) -> ResNet:
        """Training or evaluation mode; the normalisations stay in the latter where their statistics are frozen."""
        super().train(mode)
        if self.frozen_statistics:
            hold_statistics(self)
        return self

    def freeze(self, stages: int) -> None:
        """Stop the gradients of the first ``stages`` of (stem, stage 2, .., stage 5)."""
        for module in (self.stem, *self.stages)[:stages]:
            module.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [B, C, H, W] -> C2.., each [B, channels, ceil(H / stride), ceil(W / stride)]."""
        x = self.stem(images)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
