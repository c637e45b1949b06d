"""What several components share: normalisation by name, and the convolution with its normalisation."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.config import Norm
from fastmrcnn.models.slot_norm import normalise_filled
from fastmrcnn.ops import FrozenBatchNorm2d
from fastmrcnn.ops.convolution import conv3x3
from fastmrcnn.ops.fused_convolution import FusedConv2d
from fastmrcnn.ops.winograd import WinogradConv2d


def make_norm(norm: Norm, channels: int, eps: float = 1e-5) -> nn.Module:
    """The normalisation layer that a configuration names.

    "gn" has at most 32 groups, of at least 8 channels each where the width allows; "gn32" always 32 (Wu and He 2018).
    """
    if norm == "none":
        return nn.Identity()
    if norm == "frozen_bn":
        frozen: nn.Module = FrozenBatchNorm2d(channels, eps=eps)
        return frozen
    if norm == "bn":
        return nn.BatchNorm2d(channels, eps=eps)
    if norm == "sync_bn":
        return nn.SyncBatchNorm(channels, eps=eps)
    if norm == "gn32":
        return nn.GroupNorm(32, channels, eps=eps)
    groups = min(32, max(1, channels // 8))
    return nn.GroupNorm(groups if channels % groups == 0 else 1, channels, eps=eps)


class ConvNorm(nn.Module):
    """A convolution that keeps the size at stride 1, then its normalisation; a bias where none follows, or by wish."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm: Norm = "none",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=kernel // 2 * dilation,
            dilation=dilation,
            groups=groups,
            bias=bias or norm == "none",
        )
        self.norm = make_norm(norm, outputs, eps)

    def forward(self, x: Tensor, filled: Tensor | None = None, *, relu: bool = False) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, ceil(H / stride), ceil(W / stride)].

        filled: [B] bool, the slots whose statistics count, where ``x`` are regions in slots (:mod:`.slot_norm`).
        relu: with a rectified linear unit at the end.
        """
        if isinstance(self.norm, nn.Identity):
            return convolve(self.conv, x, relu=relu)
        x = convolve(self.conv, x)
        if isinstance(self.norm, FrozenBatchNorm2d):
            x = self.norm.overwrite(x)
        else:
            x = normalise_filled(self.norm, x, filled)
        return F.relu_(x) if relu else x


class LinearNorm(nn.Module):
    """A fully connected layer, then its normalisation."""

    def __init__(self, inputs: int, outputs: int, *, norm: Norm = "none", eps: float = 1e-5) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = make_norm(norm, outputs, eps)

    def forward(self, x: Tensor, filled: Tensor | None = None) -> Tensor:
        """[K, inputs] -> [K, outputs]; ``filled`` as for :class:`ConvNorm`."""
        x = self.linear(x)
        if isinstance(self.norm, nn.Identity):
            return x
        return normalise_filled(self.norm, x[:, :, None, None], filled)[:, :, 0, 0]  # norms are those of images


def convolve(conv: nn.Conv2d, x: Tensor, *, relu: bool = False) -> Tensor:
    """``conv(x)``, rectified where ``relu``; in training faster where it is one of 3x3 and stride 1."""
    if isinstance(conv, (WinogradConv2d, FusedConv2d)):  # torch 2.4 does not compile a union
        y: Tensor = conv(x, relu)
        return y
    if is_3x3(conv):
        y = conv3x3(x, conv.weight, conv.bias)
    else:
        y = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    return F.relu_(y) if relu else y


def add_convolved(
    layer: ConvNorm, x: Tensor, other: Tensor, filled: Tensor | None = None, *, relu: bool = False
) -> Tensor:
    """``layer(x, filled) + other``, rectified where ``relu``; in an optimised model written over ``other``."""
    if isinstance(layer.conv, FusedConv2d):
        return layer.conv.add_to(other, x, relu=relu)
    y = layer(x, filled).add_(other)
    return F.relu_(y) if relu else y


def is_learning(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether a gradient of its weights is wanted of the call at hand."""
    return torch.is_grad_enabled() and layer.weight.requires_grad


def is_3x3(conv: nn.Conv2d) -> bool:
    """Whether it is an ordinary 3x3 convolution that keeps the size."""
    layout = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return layout == ((3, 3), (1, 1), (1, 1), (1, 1), 1)


def init_conv(conv: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, init_weight: Callable[[Tensor], object]) -> None:
    """Initialise the kernel as ``init_weight`` does, in place, and the bias, if any, with zeros."""
    init_weight(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def full_precision(x: Tensor) -> Tensor:
    """float32 in place of the narrower types of autocast; float32 and float64 stay as they are.

    Boxes need it (bfloat16 resolves 4 pixels at 1000), and so do the sums in the losses.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
