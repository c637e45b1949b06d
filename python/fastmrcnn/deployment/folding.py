"""Batch norms with fixed statistics, folded into what stands before them: a product less for every value."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastmrcnn.models.blocks import ConvNorm, LinearNorm
from fastmrcnn.models.slot_norm import BatchNorm
from fastmrcnn.ops import FrozenBatchNorm2d


@torch.no_grad()
def fold_norms(model: nn.Module) -> tuple[int, int]:
    """Fold the batch norms of a model in evaluation mode into its convolutions and linear layers, in place.

    Returns:
        The numbers of norms that were folded and of those that were left: their statistics are of the image at hand.
    """
    folded = left = 0
    for block in model.modules():
        if not isinstance(block, ConvNorm | LinearNorm) or isinstance(block.norm, nn.Identity):
            continue
        factors = scale_and_shift(block.norm)
        if factors is None:
            left += 1
            continue
        _fold(block.conv if isinstance(block, ConvNorm) else block.linear, *factors)
        block.norm = nn.Identity()
        folded += 1
    return folded, left


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """A norm in evaluation mode as ``x * scale + shift``, float64 [C] each; None where it depends on ``x``."""
    if not isinstance(norm, FrozenBatchNorm2d | BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _fold(layer: nn.Conv2d | nn.Linear, scale: Tensor, shift: Tensor) -> None:
    """Rounded once, from float64."""
    weight = layer.weight
    scaled = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
    if layer.bias is not None:
        shift = shift + layer.bias.double() * scale
    layer.weight = _fixed(torch.empty_like(weight).copy_(scaled))
    layer.bias = _fixed(shift.to(weight.dtype))


def _fixed(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
