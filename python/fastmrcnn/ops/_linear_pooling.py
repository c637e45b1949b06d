"""Pooling operators that are linear in their input: schema, kernels, fakes and autograd of one and of its adjoint.

The derivative of a linear map is its adjoint, whose derivative is the map again; so two kernels serve derivatives of
any order, and neither needs the values that it is applied to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.library import register_fake

from fastmrcnn.ops._autograd import differentiable
from fastmrcnn.ops._library import LIBRARY, context, native, workspace
from fastmrcnn.ops._rois import check_fake, empty, is_channels_last, prepare

__all__ = ["linear_pooling"]


def linear_pooling(name: str, options: str = "", *, position_sensitive: bool = False) -> Callable[..., Tensor]:
    """Defines the operators `name` and `name_backward` over the native kernels of these names.

    Args:
        name: of the operator and of its kernel.
        options: the schema of what follows the pooled size, e.g. `"int sampling_ratio, bool aligned"`.
        position_sensitive: whether each bin reads channels of its own, so that the pooled tensor has fewer of them.
            These kernels read float32 and float64 alone, so half types pass through float32 copies.

    Returns:
        `pool(input, rois, spatial_scale, pooled_height, pooled_width, *options)`, differentiable in `input`.
    """
    tail = f", {options}" if options else ""
    LIBRARY.define(
        f"{name}(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width{tail}) "
        "-> Tensor"
    )
    LIBRARY.define(
        f"{name}_backward(Tensor grad_output, Tensor rois, float spatial_scale, SymInt[] input_shape, "
        f"bool channels_last{tail}) -> Tensor"
    )
    half = not position_sensitive
    direct_forward, direct_adjoint = getattr(native, f"direct_{name}"), getattr(native, f"direct_{name}_backward")
    no_gradients = (None,) * (4 + (options.count(",") + 1 if options else 0))

    def pooled_shape(input: Tensor, rois: Tensor, height: int, width: int) -> tuple[int, ...]:
        bins = height * width if position_sensitive else 1
        return rois.shape[0], input.shape[1] // max(bins, 1) if input.dim() == 4 else 0, height, width

    def forward(
        input: Tensor, rois: Tensor, spatial_scale: float, height: int, width: int, *options: int | bool
    ) -> Tensor:
        channels_last = is_channels_last(input)
        features, rois = prepare(name, input, rois, channels_last, half=half)
        output = empty(features, pooled_shape(features, rois, height, width), channels_last)
        getattr(native, name)(context(features), features, rois, spatial_scale, *options, output)
        return output if output.dtype == input.dtype else output.to(input.dtype)

    def adjoint(
        grad_output: Tensor,
        rois: Tensor,
        spatial_scale: float,
        input_shape: Sequence[int],
        channels_last: bool,
        *options: int | bool,
    ) -> Tensor:
        grad, rois = prepare(f"{name}_backward", grad_output, rois, channels_last, half=half)
        grad_input = empty(grad, input_shape, channels_last)
        memory = [] if position_sensitive else [workspace(f"{name}_backward", grad, rois.shape[0])]
        getattr(native, f"{name}_backward")(context(grad), grad, rois, spatial_scale, *options, grad_input, *memory)
        return grad_input if grad_input.dtype == grad_output.dtype else grad_input.to(grad_output.dtype)

    @register_fake(f"fastmrcnn::{name}", lib=LIBRARY)
    def _(input: Tensor, rois: Tensor, spatial_scale: float, height: int, width: int, *options: int | bool) -> Tensor:
        check_fake(name, input, rois)
        return empty(input, pooled_shape(input, rois, height, width), is_channels_last(input))

    @register_fake(f"fastmrcnn::{name}_backward", lib=LIBRARY)
    def _(
        grad_output: Tensor,
        rois: Tensor,
        spatial_scale: float,
        input_shape: Sequence[int],
        channels_last: bool,
        *options: int | bool,
    ) -> Tensor:
        return empty(grad_output, input_shape, channels_last)

    def setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, rois, spatial_scale, _, _, *options = inputs
        ctx.save_for_backward(rois)
        ctx.arguments = (spatial_scale, input.shape, is_channels_last(input), *options)

    def setup_adjoint(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad_output, rois, spatial_scale, _, _, *options = inputs
        ctx.save_for_backward(rois)
        ctx.arguments = (spatial_scale, *grad_output.shape[2:], *options)

    def gradient_of_forward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return call_adjoint(grad, *ctx.saved_tensors, *ctx.arguments), *no_gradients

    def gradient_of_adjoint(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return call_forward(grad, *ctx.saved_tensors, *ctx.arguments), *no_gradients

    call_forward = differentiable(name, forward, direct_forward, setup_forward, gradient_of_forward)
    call_adjoint = differentiable(f"{name}_backward", adjoint, direct_adjoint, setup_adjoint, gradient_of_adjoint)
    return call_forward
