"""The feature pyramid network as an operator: a top-down path over any backbone's feature maps."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ExtraFPNBlock", "FeaturePyramidNetwork", "LastLevelMaxPool", "merge_top_down", "subsample"]

Norm = Callable[[int], nn.Module]


def merge_top_down(laterals: Sequence[Tensor]) -> list[Tensor]:
    """The top-down path of a feature pyramid (Lin et al. 2017): from the coarsest on, each level, enlarged by nearest
    neighbour, is added to the next finer one.

    Args:
        laterals: `[N, C, H_i, W_i]`, fine to coarse.

    Returns:
        One sum for each level, of its shape. Differentiable.
    """
    merged = [laterals[-1]]
    for lateral in reversed(laterals[:-1]):
        merged.append(lateral + F.interpolate(merged[-1], size=lateral.shape[-2:], mode="nearest"))
    return merged[::-1]


def subsample(level: Tensor) -> Tensor:
    """Every second pixel of `[N, C, H, W]` in each direction: the level that follows the last of a pyramid."""
    return F.max_pool2d(level, kernel_size=1, stride=2)


class ExtraFPNBlock(nn.Module):
    """Appends levels to a pyramid. Subclasses define `forward`."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """(pyramid levels, the backbone's features, levels' names) -> (levels, names), both with more at the end."""
        raise NotImplementedError


class LastLevelMaxPool(ExtraFPNBlock):
    """One further level, "pool": every second pixel of the last in each direction."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        return [*results, subsample(results[-1])], [*names, "pool"]


class FeaturePyramidNetwork(nn.Module):
    """Feature pyramid (Lin et al. 2017): each level adds the coarser one, enlarged, to its own lateral 1x1 convolution,
    and a 3x3 convolution smooths the sum.

    Args:
        in_channels_list: channels of each feature map, fine to coarse.
        out_channels: channels of every level of the pyramid.
        extra_blocks: appends levels, e.g. `LastLevelMaxPool()`.
        norm_layer: makes the normalisation after each convolution, which then has no bias.

    Example:
        >>> fpn = FeaturePyramidNetwork([16, 32], 8, LastLevelMaxPool())
        >>> pyramid = fpn({"c4": torch.rand(1, 16, 10, 12), "c5": torch.rand(1, 32, 5, 6)})
        >>> [(name, tuple(level.shape)) for name, level in pyramid.items()]
        [('c4', (1, 8, 10, 12)), ('c5', (1, 8, 5, 6)), ('pool', (1, 8, 3, 3))]
    """

    def __init__(
        self,
        in_channels_list: Sequence[int],
        out_channels: int,
        extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        if any(channels <= 0 for channels in in_channels_list):
            raise ValueError(f"FeaturePyramidNetwork: in_channels_list must be positive; got {list(in_channels_list)}")
        self.inner_blocks = nn.ModuleList(
            _block(channels, out_channels, 1, norm_layer) for channels in in_channels_list
        )
        self.layer_blocks = nn.ModuleList(_block(out_channels, out_channels, 3, norm_layer) for _ in in_channels_list)
        self.extra_blocks = extra_blocks

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Features by name, `[N, C_i, H_i, W_i]`, fine to coarse -> levels by name, `[N, out_channels, H_i, W_i]`."""
        names, features = list(x), list(x.values())
        laterals = [inner(feature) for inner, feature in zip(self.inner_blocks, features, strict=True)]
        levels = [layer(merged) for layer, merged in zip(self.layer_blocks, merge_top_down(laterals), strict=True)]
        if self.extra_blocks is not None:
            levels, names = self.extra_blocks(levels, features, names)
        return OrderedDict(zip(names, levels, strict=True))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Accepts the names of older torchvision files, whose blocks were bare convolutions."""
        old_name = re.compile(re.escape(prefix) + r"(inner|layer)_blocks\.(\d+)\.(weight|bias)")
        for key in list(state_dict):
            if match := old_name.fullmatch(key):
                kind, index, parameter = match.groups()
                state_dict[f"{prefix}{kind}_blocks.{index}.0.{parameter}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _block(in_channels: int, out_channels: int, kernel: int, norm_layer: Norm | None) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=norm_layer is None)
    nn.init.kaiming_uniform_(convolution.weight, a=1)  # a=1: no rectifier follows
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution) if norm_layer is None else nn.Sequential(convolution, norm_layer(out_channels))
