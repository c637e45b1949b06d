"""Winograd's convolution with weights that are transformed once: for inference on the CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.ops._library import LIBRARY, context, is_plain_eager, native
from fastmrcnn.ops.convolution import LANES, LEAST_CHANNELS, POINTS, at_points, tiles_of

__all__ = ["WinogradConv2d", "winograd_conv3x3", "winograd_weights"]

BLOCK = 32  # output channels that are multiplied together
GROUP = 14  # tiles whose products stay in the registers of the widest instruction set
CACHED_CHANNELS = 256  # of input channels beyond so many, more tiles share what is read of the weights
LEAST_TILES = 14  # with fewer, most of what is read of the weights serves nobody

LIBRARY.define("winograd_conv3x3(Tensor input, Tensor weights, Tensor? bias, SymInt outputs, bool relu) -> Tensor")


def _winograd_conv3x3(input: Tensor, weights: Tensor, bias: Tensor | None, outputs: int, relu: bool) -> Tensor:
    input = input.detach().contiguous(memory_format=torch.channels_last)
    output = _empty_output(input, outputs)
    if output.numel() > 0:
        where = context(input)
        bias = None if bias is None else bias.detach()
        native.winograd_convolution(where, input, weights.detach(), bias, relu, _workspace(input, where[0]), output)
    return output


LIBRARY.impl("winograd_conv3x3", _winograd_conv3x3, "CPU")


@torch.library.register_fake("fastmrcnn::winograd_conv3x3", lib=LIBRARY)
def _winograd_conv3x3_fake(input: Tensor, weights: Tensor, bias: Tensor | None, outputs: int, relu: bool) -> Tensor:
    torch._check(input.dim() == 4, lambda: f"winograd_conv3x3: input must be [N, C, H, W]; got {list(input.shape)}")
    return _empty_output(input, outputs)


def _empty_output(input: Tensor, outputs: int) -> Tensor:
    batch, _, height, width = input.shape
    shape = (batch, outputs, height, width)
    return torch.empty(shape, dtype=input.dtype, device=input.device, memory_format=torch.channels_last)


def _workspace(input: Tensor, threads: int) -> Tensor:
    """Memory for the transformed tiles of each thread: as many as its cache holds, fewer where threads would idle."""
    tiles, channels = tiles_of(input), input.shape[1]
    run = GROUP * max(2, channels // (CACHED_CHANNELS // 2))
    share = -(-tiles // (threads * GROUP)) * GROUP
    run = min(run, share)
    return input.new_empty((min(threads, -(-tiles // run)), run, POINTS * (channels + BLOCK)))


def winograd_weights(weight: Tensor) -> Tensor:
    """The weights of a 3x3 convolution as :func:`winograd_conv3x3` takes them: four times their size.

    Args:
        weight: `[K, C, 3, 3]` floating-point.

    Returns:
        `[ceil(K / 32), 36, C, 32]` float32: at the points of the transform, output channels in blocks.
    """
    points = at_points(weight.detach().float().permute(2, 3, 1, 0))  # [36, C, K]
    blocks = F.pad(points, (0, -points.shape[2] % BLOCK)).unflatten(2, (-1, BLOCK))
    packed: Tensor = blocks.permute(2, 0, 1, 3).contiguous()
    return packed


def winograd_conv3x3(
    input: Tensor, weights: Tensor, bias: Tensor | None, outputs: int, *, relu: bool = False
) -> Tensor:
    """A 3x3 convolution of stride 1 and padding 1, with a rectified linear unit after it where ``relu``.

    Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016) has a quarter of the multiplications. Sums of 256
    channels err by 1.6e-6 relative where a direct convolution's err by 0.6e-6, and a value that is not finite spoils
    the 4x4 pixels around it. A thread works on a few tiles at a time, from the input to the output, so that nothing of
    the transformed maps reaches memory. On the CPU; not differentiable.

    Args:
        input: `[N, C, H, W]` float32; channels-last is taken as it is. weights: of :func:`winograd_weights`.
        bias: `[K]` float32 or None. outputs: K. C and K are multiples of 16.

    Returns:
        `[N, K, H, W]` float32, channels-last.

    Raises:
        ValueError: a shape, a dtype or a number of channels is not as stated.

    Example:
        >>> image, weight = torch.rand(1, 64, 40, 40), torch.rand(64, 64, 3, 3)
        >>> found = winograd_conv3x3(image, winograd_weights(weight), None, 64)
        >>> torch.allclose(found, torch.nn.functional.conv2d(image, weight, padding=1), rtol=1e-4)
        True
    """
    operands = (input, weights) if bias is None else (input, weights, bias)
    kernel = _winograd_conv3x3 if is_plain_eager(*operands) else torch.ops.fastmrcnn.winograd_conv3x3.default
    output: Tensor = kernel(input, weights, bias, outputs, relu)
    return output


class WinogradConv2d(nn.Conv2d):
    """A convolution of 3x3, stride 1 and padding 1 for inference: by Winograd's filtering where that is faster.

    That is in float32 on a CPU, for maps that are not tiny and where no gradient is wanted; else it is torch's. The
    weights are transformed at the first such map, so that a model of small images has none of their memory, into a
    buffer that no state_dict holds; it does not follow later changes of the weights. A program that torch compiles
    has Winograd's filtering where they have been transformed by then.

    Args:
        conv: whose parameters it shares; see :func:`suits_winograd`.
    """

    points: Tensor | None

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv.in_channels, conv.out_channels, 3, padding=1, bias=conv.bias is not None, device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        self.register_buffer("points", None, persistent=False)

    def forward(self, input: Tensor, relu: bool = False) -> Tensor:
        """`[N, C, H, W]` -> `[N, K, H, W]`, rectified where ``relu``."""
        if self._is_faster(input):
            return winograd_conv3x3(input, self.transformed_weights(), self.bias, self.out_channels, relu=relu)
        output = F.conv2d(input, self.weight, self.bias, padding=1)
        return F.relu_(output) if relu else output

    def transformed_weights(self) -> Tensor:
        """:func:`winograd_weights`, made once. Threads that come at the same time make the same."""
        points = self.points
        if points is None:
            with torch.inference_mode(False), torch.autocast("cpu", enabled=False):  # a tensor that may go anywhere
                points = self.points = winograd_weights(self.weight)
        return points

    @property
    def transformed_bytes(self) -> int:
        """What they take."""
        return -(-self.out_channels // BLOCK) * BLOCK * POINTS * self.in_channels * 4

    def _is_faster(self, input: Tensor) -> bool:
        return (
            input.device.type == "cpu"
            and input.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not (torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad))
            # Compiled, one program for maps of all sizes, which cannot transform the weights.
            and (self.points is not None if torch.compiler.is_compiling() else tiles_of(input) >= LEAST_TILES)
        )


def suits_winograd(conv: nn.Conv2d) -> bool:
    """Whether a :class:`WinogradConv2d` can take the place of an ordinary 3x3 convolution, and is worth it."""
    inputs, outputs = conv.in_channels, conv.out_channels
    return min(inputs, outputs) >= LEAST_CHANNELS and inputs % LANES == outputs % LANES == 0
