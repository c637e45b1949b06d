"""RoIAlign over the levels of a feature pyramid, in one call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, context, is_plain_eager, native, refuse_tangent, register_kernel, workspace
from fastmrcnn.ops._rois import Boxes, as_pair, as_rois, check_fake, dense, empty, is_channels_last, prepare
from fastmrcnn.ops.assign_levels import LevelRule

__all__ = ["multiscale_roi_align"]

_NAME, _BACKWARD = "multiscale_roi_align", "multiscale_roi_align_backward"


class _Geometry(NamedTuple):
    """What forward and backward know of the levels and of the sampling, in the order of the native kernels."""

    spatial_scales: list[float]
    finest_level: int
    canonical_scale: float
    canonical_level: int
    level_rule: str
    sampling_ratio: int
    aligned: bool


_GEOMETRY = (
    "float[] spatial_scales, int finest_level, float canonical_scale, int canonical_level, str level_rule, "
    "int sampling_ratio, bool aligned"
)
_LENGTH = len(_Geometry._fields)

LIBRARY.define(
    f"{_NAME}(Tensor[] features, Tensor rois, {_GEOMETRY}, SymInt pooled_height, SymInt pooled_width) -> Tensor"
)
LIBRARY.define(
    f"{_BACKWARD}(Tensor grad_output, Tensor rois, {_GEOMETRY}, SymInt images, SymInt[] heights, SymInt[] widths, "
    "bool channels_last) -> Tensor[]"
)


def _pool(features: Sequence[Tensor], rois: Tensor, *arguments: Any) -> Tensor:
    geometry, (height, width) = _Geometry(*arguments[:_LENGTH]), arguments[_LENGTH:]
    dtype, channels_last = features[0].dtype, is_channels_last(features[0])
    for level, feature in enumerate(features):
        if feature.dtype != dtype:
            expected, found = (str(kind).removeprefix("torch.") for kind in (dtype, feature.dtype))
            raise ValueError(f"{_NAME}: features[{level}] must be {expected}, as features[0] is; got {found}")
    first, rois = prepare(_NAME, features[0], rois, channels_last, name="features[0]")
    maps = [first, *(dense(feature, channels_last) for feature in features[1:])]
    output = empty(first, (rois.shape[0], first.shape[1] if first.dim() == 4 else 0, height, width), channels_last)
    native.multiscale_roi_align(context(first), maps, rois, *geometry, output)
    return output if output.dtype == dtype else output.to(dtype)


def _spread(grad_output: Tensor, rois: Tensor, *arguments: Any) -> list[Tensor]:
    geometry, shape = _Geometry(*arguments[:_LENGTH]), arguments[_LENGTH:]
    *_, channels_last = shape
    grad, rois = prepare(_BACKWARD, grad_output, rois, channels_last, name="grad_output")
    maps = _empty_maps(grad, *shape)
    memory = workspace("roi_align_backward", grad, rois.shape[0])
    native.multiscale_roi_align_backward(context(grad), grad, rois, *geometry, maps, memory)
    return maps if grad.dtype == grad_output.dtype else [gradient.to(grad_output.dtype) for gradient in maps]


def _empty_maps(
    grad: Tensor, images: int, heights: Sequence[int], widths: Sequence[int], channels_last: bool
) -> list[Tensor]:
    shapes = [(images, grad.shape[1], height, width) for height, width in zip(heights, widths, strict=True)]
    return [empty(grad, shape, channels_last) for shape in shapes]


register_kernel(_NAME, _pool)
register_kernel(_BACKWARD, _spread)


@torch.library.register_fake(f"fastmrcnn::{_NAME}", lib=LIBRARY)
def _pool_fake(features: Sequence[Tensor], rois: Tensor, *arguments: Any) -> Tensor:
    for level, feature in enumerate(features):
        check_fake(_NAME, feature, rois, name=f"features[{level}]")
    *_, height, width = arguments
    return empty(features[0], (rois.shape[0], features[0].shape[1], height, width), is_channels_last(features[0]))


@torch.library.register_fake(f"fastmrcnn::{_BACKWARD}", lib=LIBRARY)
def _spread_fake(grad_output: Tensor, rois: Tensor, *arguments: Any) -> list[Tensor]:
    return _empty_maps(grad_output, *arguments[_LENGTH:])


# Pooling is linear in the features: the derivative of each operator is the other.
def _setup_pool(ctx: Any, inputs: tuple[Any, ...], output: Tensor | None) -> None:
    features, rois, *arguments = inputs
    ctx.save_for_backward(rois)
    heights, widths = [feature.shape[2] for feature in features], [feature.shape[3] for feature in features]
    images, channels_last = features[0].shape[0], is_channels_last(features[0])
    ctx.arguments = (*arguments[:_LENGTH], images, heights, widths, channels_last)


def _setup_spread(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    grad_output, rois, *arguments = inputs
    ctx.save_for_backward(rois)
    ctx.arguments = (*arguments[:_LENGTH], *grad_output.shape[2:])


def _gradients_of_maps(ctx: Any, grad: Tensor) -> list[Tensor]:
    plain = is_plain_eager(grad) and not (grad.requires_grad and torch.is_grad_enabled())
    spread = _spread if plain else torch.ops.fastmrcnn.multiscale_roi_align_backward.default
    gradients: list[Tensor] = spread(grad, *ctx.saved_tensors, *ctx.arguments)
    return gradients


def _gradient_of_pool(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return _gradients_of_maps(ctx, grad), *(None,) * (_LENGTH + 3)


def _gradient_of_spread(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    gradient = torch.ops.fastmrcnn.multiscale_roi_align.default(grads, *ctx.saved_tensors, *ctx.arguments)
    return gradient, *(None,) * (_LENGTH + 5)


torch.library.register_autograd(f"fastmrcnn::{_NAME}", _gradient_of_pool, setup_context=_setup_pool, lib=LIBRARY)
torch.library.register_autograd(
    f"fastmrcnn::{_BACKWARD}", _gradient_of_spread, setup_context=_setup_spread, lib=LIBRARY
)


class _Eager(torch.autograd.Function):
    """The derivative in plain eager mode; the dispatcher, which flattens lists in Python, takes half a millisecond."""

    @staticmethod
    def forward(ctx: Any, rois: Tensor, arguments: tuple[Any, ...], *features: Tensor) -> Tensor:
        _setup_pool(ctx, (features, rois, *arguments), None)
        return _pool(features, rois, *arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return None, None, *_gradients_of_maps(ctx, grad)


def _call(features: Sequence[Tensor], rois: Tensor, *arguments: Any) -> Tensor:
    if not is_plain_eager(rois, *features):
        for feature in features:
            refuse_tangent(_NAME, feature)
        pooled: Tensor = torch.ops.fastmrcnn.multiscale_roi_align.default(list(features), rois, *arguments)
        return pooled
    if torch.is_grad_enabled() and any(feature.requires_grad for feature in features):
        return _Eager.apply(rois, arguments, *features)  # type: ignore[no-any-return,no-untyped-call]
    return _pool(features, rois, *arguments)


def multiscale_roi_align(
    features: Sequence[Tensor],
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = -1,
    aligned: bool = False,
    *,
    finest_level: int | None = None,
    canonical_scale: float = 224,
    canonical_level: int = 4,
    level_rule: LevelRule = "torchvision",
) -> Tensor:
    """`roi_align` of each region from the pyramid level that fits its size (Lin et al. 2017, section 4.2).

    Args:
        features: the maps of consecutive levels from fine to coarse, each `[N, C, H_i, W_i]` floating point, contiguous
            or channels-last as the first is. At most 32.
        boxes: regions in image pixels: `[K, 5]` rows of batch index, x1, y1, x2, y2, or one `[L, 4]` tensor of corners
            per image. Their dtype may differ from the features'.
        output_size: bins of the pooled grid, (height, width) or one number for both.
        spatial_scales: of each level, feature-map pixels per image pixel: 1/4, 1/8, 1/16 and 1/32 for P2 to P5.
        sampling_ratio, aligned: as for `roi_align`.
        finest_level: the level of `features[0]`, in -1000..1000; by default -log2(spatial_scales[0]), rounded.
        canonical_scale, canonical_level, level_rule: which box belongs to which level, as for `assign_levels`; boxes
            beyond either end of the pyramid are pooled from its last map there.

    Returns:
        `[K, C, height, width]` in the order of the boxes, in the features' dtype and the memory format of the first.
        Degenerate regions and half precision as for `roi_align`.

    Differentiable in all `features` in reverse mode, twice and more; the gradient is deterministic, and zero for a map
    that no region is pooled from. Not differentiable in `boxes`.

    Raises:
        ValueError: a shape, a dtype, the number of scales, a scale, a level or the rule is not as stated, or a batch
            index is NaN or not in [0, N); on CUDA such regions pool to NaN, as for `roi_align`.
        NotImplementedError: one of `features` carries a tangent of forward-mode differentiation.

    Example:
        >>> p2, p3 = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 32, 32)
        >>> boxes = [torch.tensor([[10.0, 10, 90, 70], [0, 0, 200, 200]])]
        >>> multiscale_roi_align([p2, p3], boxes, 1, [1 / 4, 1 / 8], sampling_ratio=2).flatten()
        tensor([0., 1.])
    """
    if not features:
        raise ValueError(f"{_NAME}: features must hold at least one tensor; got none")
    rois = as_rois(_NAME, boxes)
    height, width = as_pair(_NAME, output_size)
    scales = [float(scale) for scale in spatial_scales]
    if finest_level is None:
        if not (scales and 0 < scales[0] < math.inf):
            raise ValueError(f"{_NAME}: spatial_scales must be positive, one for each of features; got {scales}")
        finest_level = round(-math.log2(scales[0]))
    geometry = (scales, finest_level, float(canonical_scale), canonical_level, level_rule, sampling_ratio, aligned)
    return _call(features, rois, *geometry, height, width)
