"""Convolutions that train faster on a CPU than torch's own, and torch's own elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn.ops._library import context, is_plain_eager, native

__all__ = ["conv3x3", "deconv2x2"]

POINTS = 36  # transformed values of a tile and channel
TILE = 4  # pixels along a side of a tile
LANES = 16  # channels come in multiples of this
LEAST_CHANNELS = 64  # with fewer, the transforms take longer than the products that they save
LEAST_TILES = 64  # with fewer, so does the transform of the weights
MOST_TILES = 256  # that are transformed at once, so that they stay in a cache


def conv3x3(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3x3 convolution of stride 1 and padding 1, as `torch.nn.functional.conv2d(input, weight, bias, padding=1)`.

    Where a gradient is wanted of channels-last float32 maps on the CPU, forward and backward are Winograd's minimal
    filtering F(4x4, 3x3) (Lavin and Gray 2016), with a quarter of the multiplications. Its sums err by 1.6e-6 relative
    where a direct convolution's err by 0.6e-6, and a value that is not finite spoils the 4x4 pixels around it. All
    else, inference too, is left to torch.

    Args:
        input: `[N, C, H, W]` floating-point. weight: `[K, C, 3, 3]`. bias: `[K]` or None.

    Returns:
        `[N, K, H, W]`. Differentiable in all three; by Winograd's filtering once.

    Example:
        >>> image = torch.rand(1, 64, 40, 40).to(memory_format=torch.channels_last)
        >>> weight = torch.rand(64, 64, 3, 3, requires_grad=True)
        >>> torch.allclose(conv3x3(image, weight), torch.nn.functional.conv2d(image, weight, padding=1), rtol=1e-4)
        True
    """
    if not _winograd_is_faster(input, weight, bias):
        return F.conv2d(input, weight, bias, padding=1)
    output: Tensor = _Winograd.apply(input, weight, bias)  # type: ignore[no-untyped-call]
    return output


def deconv2x2(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 2x2 transposed convolution of stride 2, as `torch.nn.functional.conv_transpose2d(input, weight, bias, 2)`.

    Its windows do not overlap, so that it is a matrix product and a reordering; torch's gradient of it takes twice as
    long on the CPU.

    Args:
        input: `[N, C, H, W]` floating-point. weight: `[C, K, 2, 2]`. bias: `[K]` or None.

    Returns:
        `[N, K, 2 * H, 2 * W]`. Differentiable in all three.
    """
    wanted = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
    if not (wanted and input.device.type == "cpu" and input.is_contiguous(memory_format=torch.channels_last)):
        return F.conv_transpose2d(input, weight, bias, stride=2)
    batch, _, height, width = input.shape
    by_place = weight.permute(2, 3, 1, 0).flatten(0, 2)  # [2 * 2 * K, C]
    cells = F.linear(input.permute(0, 2, 3, 1), by_place, None if bias is None else bias.repeat(4))
    cells = cells.view(batch, height, width, 2, 2, weight.shape[1])
    return cells.transpose(2, 3).reshape(batch, 2 * height, 2 * width, weight.shape[1]).permute(0, 3, 1, 2)


def _winograd_is_faster(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether Winograd's filtering can take this convolution's place, and is worth it."""
    operands = (input, weight) if bias is None else (input, weight, bias)
    return (
        is_plain_eager(*operands)
        and torch.is_grad_enabled()
        and any(operand.requires_grad for operand in operands)
        and torch.backends.mkl.is_available()
        and not torch.is_autocast_enabled("cpu")
        and all(operand.device.type == "cpu" and operand.dtype == torch.float32 for operand in operands)
        and input.dim() == 4
        and weight.shape[1:] == (input.shape[1], 3, 3)
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and weight.shape[0] % LANES == weight.shape[1] % LANES == 0
        and tiles_of(input) >= LEAST_TILES
        and input.is_contiguous(memory_format=torch.channels_last)
    )


def tiles_of(map: Tensor) -> int:
    """Number of 4x4 tiles of a map `[N, C, H, W]`."""
    return map.shape[0] * -(-map.shape[2] // TILE) * -(-map.shape[3] // TILE)


class _Winograd(torch.autograd.Function):
    """The gradient of the input is a convolution too; that of the weights is a sum over the products of tiles."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _convolve(input, at_points(weight.permute(2, 3, 1, 0)), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_input, of_weight, of_bias = ctx.needs_input_grad
        return (
            _convolve(grad, at_points(weight.flip(2, 3).permute(2, 3, 0, 1)), None) if of_input else None,
            _weight_gradient(input, grad) if of_weight else None,
            grad.sum(dim=(0, 2, 3)) if of_bias else None,
        )


@cache
def _points_of_weights() -> Tensor:
    """`[36, 9]`: 3x3 weights to the points of `cpp/src/kernels/winograd_kernel.cpp` along y and x."""
    along_a_side = [
        [1, 0, 0],
        [1 / 3, 1 / 3, 1 / 3],
        [-1 / 3, 1 / 3, -1 / 3],
        [-16 / 15, -8 / 15, -4 / 15],
        [1 / 15, -2 / 15, 4 / 15],
        [0, 0, 1],
    ]
    matrix = torch.tensor(along_a_side, dtype=torch.float64, device="cpu")
    return torch.kron(matrix, matrix).float()


def at_points(weight: Tensor) -> Tensor:
    """Weights `[3, 3, C, K]` -> `[36, C, K]`."""
    points: Tensor = (_points_of_weights() @ weight.reshape(9, -1)).unflatten(1, weight.shape[2:])
    return points


def _convolve(input: Tensor, weight_points: Tensor, bias: Tensor | None) -> Tensor:
    """`[N, C, H, W]` with weights `[36, C, K]` -> `[N, K, H, W]`."""
    (batch, channels, height, width), outputs = input.shape, weight_points.shape[2]
    output = torch.empty((batch, outputs, height, width), memory_format=torch.channels_last)
    inputs, products = _Tiles(input, channels), _Tiles(input, outputs)
    for first, count in _runs(input):
        native.winograd_input(context(input), input, first, inputs.of(count))
        torch.bmm(inputs.of(count), weight_points, out=products.of(count))
        native.winograd_output(context(input), products.of(count), bias, first, output)
    return output


def _weight_gradient(input: Tensor, grad: Tensor) -> Tensor:
    """`[N, C, H, W]` and the gradient of the output, `[N, K, H, W]` -> `[K, C, 3, 3]`."""
    channels, outputs = input.shape[1], grad.shape[1]
    sums = torch.zeros((POINTS, outputs, channels))
    inputs, grads = _Tiles(input, channels), _Tiles(input, outputs)
    for first, count in _runs(input):
        native.winograd_input(context(input), input, first, inputs.of(count))
        native.winograd_gradient(context(input), grad, first, grads.of(count))
        sums.baddbmm_(grads.of(count).transpose(1, 2), inputs.of(count))
    by_place: Tensor = (_points_of_weights().T @ sums.flatten(1)).unflatten(1, (outputs, channels))  # [9, K, C]
    weight: Tensor = by_place.transpose(0, 1).contiguous().unflatten(1, (3, 3))  # [K, 3, 3, C]
    return weight.permute(0, 3, 1, 2)


class _Tiles:
    """The transformed tiles of one run after the other, in the same memory."""

    def __init__(self, map: Tensor, channels: int) -> None:
        self.channels = channels
        self.values = torch.empty(POINTS * min(tiles_of(map), MOST_TILES) * channels)

    def of(self, count: int) -> Tensor:
        """`[36, count, channels]`"""
        return self.values[: POINTS * count * self.channels].view(POINTS, count, self.channels)


def _runs(map: Tensor) -> Iterator[tuple[int, int]]:
    """(first tile, number of tiles) of the runs that make up the map; they depend on nothing but its shape."""
    tiles = tiles_of(map)
    for first in range(0, tiles, MOST_TILES):
        yield first, min(MOST_TILES, tiles - first)
