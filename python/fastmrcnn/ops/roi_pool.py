"""RoIPool: the maximum of whole pixels in each bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastmrcnn.ops._autograd import differentiable
from fastmrcnn.ops._library import LIBRARY, context, native
from fastmrcnn.ops._rois import Boxes, as_pair, as_rois, check_fake, empty, is_channels_last, prepare

__all__ = ["RoIPool", "roi_pool"]

LIBRARY.define(
    "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
    "-> (Tensor output, Tensor argmax)"
)
LIBRARY.define(
    "roi_pool_backward(Tensor grad_output, Tensor rois, Tensor argmax, float spatial_scale, SymInt[] input_shape, "
    "bool channels_last) -> Tensor"
)


def _roi_pool(input: Tensor, rois: Tensor, spatial_scale: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    channels_last = is_channels_last(input)
    features, rois = prepare("roi_pool", input, rois, channels_last)
    output, argmax = _empty_outputs(features, rois, height, width, channels_last)
    native.roi_pool(context(features), features, rois, spatial_scale, output, argmax)
    return output.to(input.dtype), argmax


def _roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    spatial_scale: float,
    input_shape: Sequence[int],
    channels_last: bool,
) -> Tensor:
    grad, rois = prepare("roi_pool_backward", grad_output, rois, channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    grad_input = empty(grad, input_shape, channels_last)
    argmax = argmax.contiguous(memory_format=layout)
    native.roi_pool_backward(context(grad), grad, rois, argmax, spatial_scale, grad_input)
    return grad_input.to(grad_output.dtype)


def _empty_outputs(input: Tensor, rois: Tensor, height: int, width: int, channels_last: bool) -> tuple[Tensor, Tensor]:
    channels = input.shape[1] if input.dim() == 4 else 0
    output = empty(input, (rois.shape[0], channels, height, width), channels_last)
    return output, torch.empty_like(output, dtype=torch.int32)


@torch.library.register_fake("fastmrcnn::roi_pool", lib=LIBRARY)
def _roi_pool_fake(input: Tensor, rois: Tensor, spatial_scale: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    check_fake("roi_pool", input, rois)
    return _empty_outputs(input, rois, height, width, is_channels_last(input))


@torch.library.register_fake("fastmrcnn::roi_pool_backward", lib=LIBRARY)
def _roi_pool_backward_fake(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    spatial_scale: float,
    input_shape: Sequence[int],
    channels_last: bool,
) -> Tensor:
    return empty(grad_output, input_shape, channels_last)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, rois, spatial_scale, *_ = inputs
    ctx.save_for_backward(rois, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.arguments = (spatial_scale, input.shape, is_channels_last(input))


def _gradient(ctx: Any, grad_output: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return _call_backward(grad_output, *ctx.saved_tensors, *ctx.arguments), None, None, None, None


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, rois, argmax, *_ = inputs
    ctx.save_for_backward(rois, argmax)


def _gradient_of_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Each bin reads the pixel that was its maximum."""
    rois, argmax = ctx.saved_tensors
    channels, pixels = grad.shape[1], grad.shape[2] * grad.shape[3]
    image = rois[:, :1].nan_to_num().clamp(0, grad.shape[0] - 1).long()  # CUDA lets bad ones pass: their argmax is -1
    plane = image * channels + torch.arange(channels, device=grad.device)  # [K, C]
    picked = grad.flatten()[plane[:, :, None, None] * pixels + argmax.clamp(min=0)]  # [K, C, height, width]
    return picked.where(argmax >= 0, 0), None, None, None, None, None


_call = differentiable("roi_pool", _roi_pool, native.direct_roi_pool, _setup, _gradient)
_call_backward = differentiable(
    "roi_pool_backward", _roi_pool_backward, native.direct_roi_pool_backward, _setup_backward, _gradient_of_backward
)


def roi_pool(input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> Tensor:
    """The maximum of the pixels in each bin of each region of interest (Girshick 2015, Fast R-CNN).

    The RoI's corners are rounded to whole pixels (halves away from zero), its end pixel included. RoIAlign exists
    because of the misalignment that this rounding causes.

    Args:
        input: `[N, C, H, W]` floating-point features, contiguous or channels-last.
        boxes: regions in image pixels: `[K, 5]` rows of batch index, x1, y1, x2, y2, or one `[L, 4]` tensor of corners
            per image.
        output_size: bins of the pooled grid, (height, width) or one number for both.
        spatial_scale: feature-map pixels per image pixel.

    Returns:
        `[K, C, height, width]` in the input's dtype and memory format; zeros in bins without pixels and for RoIs with
        a NaN or an infinity. A NaN in the features makes its bin NaN, as in `torch.nn.functional.max_pool2d`. float16
        and bfloat16 are read and written as they are; their gradients are summed in float32 and rounded once.

    Differentiable in `input` in reverse mode, twice and more; the gradient is deterministic. Not differentiable in
    `boxes`.

    Raises:
        ValueError: a shape is not as stated, or a batch index is NaN or not in [0, N).
            On CUDA nobody waits to look at it: such a region pools to NaN and passes no gradient.
        NotImplementedError: `input` carries a tangent of forward-mode differentiation.

    Example:
        >>> features = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roi_pool(features, torch.tensor([[0.0, 0, 0, 3, 3]]), 2)
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]])
    """
    rois = as_rois("roi_pool", boxes)
    output: Tensor = _call(input, rois, spatial_scale, *as_pair("roi_pool", output_size))[0]
    return output


class RoIPool(nn.Module):
    """`roi_pool` with fixed arguments."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        return roi_pool(input, rois, self.output_size, self.spatial_scale)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale})"
