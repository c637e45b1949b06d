"""RoIAlign: bilinear pooling of regions of interest without quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastmrcnn.ops._autograd import differentiable
from fastmrcnn.ops._library import LIBRARY, as_native_float, context, native
from fastmrcnn.ops._rois import Boxes, as_pair, as_rois, check_fake, empty_like_layout, layout_of

__all__ = ["RoIAlign", "roi_align"]

LIBRARY.define(
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor"
)
LIBRARY.define(
    "roi_align_backward(Tensor grad_output, Tensor rois, float spatial_scale, SymInt[] input_shape, "
    "bool channels_last, int sampling_ratio, bool aligned) -> Tensor"
)


def _roi_align(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    layout = layout_of(input)
    features = as_native_float(input.detach()).contiguous(memory_format=layout)
    rois = rois.detach().to(features.dtype).contiguous()
    shape = (rois.shape[0], input.shape[1], pooled_height, pooled_width)
    output = empty_like_layout(features, shape, layout)
    native.roi_align(context(features), features, rois, spatial_scale, sampling_ratio, aligned, output)
    return output.to(input.dtype)


def _roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    spatial_scale: float,
    input_shape: Sequence[int],
    channels_last: bool,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    grad = as_native_float(grad_output.detach()).contiguous(memory_format=layout)
    rois = rois.detach().to(grad.dtype).contiguous()
    grad_input = empty_like_layout(grad, input_shape, layout)
    native.roi_align_backward(context(grad), grad, rois, spatial_scale, sampling_ratio, aligned, grad_input)
    return grad_input.to(grad_output.dtype)


@torch.library.register_fake("fastmrcnn::roi_align", lib=LIBRARY)
def _roi_align_fake(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    check_fake("roi_align", input, rois)
    return empty_like_layout(input, (rois.shape[0], input.shape[1], pooled_height, pooled_width), layout_of(input))


@torch.library.register_fake("fastmrcnn::roi_align_backward", lib=LIBRARY)
def _roi_align_backward_fake(
    grad_output: Tensor,
    rois: Tensor,
    spatial_scale: float,
    input_shape: Sequence[int],
    channels_last: bool,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return empty_like_layout(grad_output, input_shape, layout)


# RoIAlign is linear in its input: its derivative is the adjoint map, whose derivative is RoIAlign again.


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, rois, spatial_scale, _, _, *sampling = inputs
    ctx.save_for_backward(rois)
    ctx.arguments = (spatial_scale, input.shape, layout_of(input) == torch.channels_last, *sampling)


def _gradient(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    return _call_backward(grad_output, *ctx.saved_tensors, *ctx.arguments), None, None, None, None, None, None


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, rois, spatial_scale, _, _, *sampling = inputs
    ctx.save_for_backward(rois)
    ctx.arguments = (spatial_scale, *grad_output.shape[2:], *sampling)


def _gradient_of_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _call(grad, *ctx.saved_tensors, *ctx.arguments), None, None, None, None, None, None


_call = differentiable("roi_align", _roi_align, _setup, _gradient)
_call_backward = differentiable("roi_align_backward", _roi_align_backward, _setup_backward, _gradient_of_backward)


def roi_align(
    input: Tensor,
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """The mean of bilinear samples in each bin of each region of interest (He et al. 2017, section 3).

    Args:
        input: `[N, C, H, W]` floating-point features, contiguous or channels-last.
        boxes: regions in image pixels: `[K, 5]` rows of batch index, x1, y1, x2, y2, or one `[L, 4]` tensor of corners
            per image. Their dtype may differ from the input's.
        output_size: bins of the pooled grid, (height, width) or one number for both.
        spatial_scale: feature-map pixels per image pixel, 1/16 for stride 16.
        sampling_ratio: samples per bin along each axis; zero or less takes ceil(size of the RoI / bins).
        aligned: whether pixel centres lie at half-integer coordinates, which is right. False is the older
            convention: everything is shifted by half a pixel and a RoI is at least one feature-map pixel wide and high.

    Returns:
        `[K, C, height, width]` in the input's dtype and memory format. Samples more than one pixel outside the map
        count as zero; a RoI with a NaN or an infinity pools to zeros. float16 and bfloat16 are computed in float32.

    Differentiable in `input`, twice and more; the gradient is deterministic. Not differentiable in `boxes`.

    Raises:
        ValueError: a shape is not as stated, or a batch index is NaN or not in [0, N).

    Example:
        >>> features = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roi_align(features, torch.tensor([[0.0, 0, 0, 4, 4]]), 2, aligned=True)
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """
    rois = as_rois("roi_align", boxes)
    pooled: Tensor = _call(input, rois, spatial_scale, *as_pair("roi_align", output_size), sampling_ratio, aligned)
    return pooled


class RoIAlign(nn.Module):
    """`roi_align` with fixed arguments: `RoIAlign(7, 1 / 16, 2, aligned=True)(features, boxes)`."""

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool = False
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned})"
        )
