"""oneDNN's convolutions with the rectifier and the sum that follow them: for inference on the CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.errors import first_line
from fastmrcnn.ops._library import is_plain_eager

__all__ = ["FusedConv2d", "fusion_problem"]


class FusedConv2d(nn.Conv2d):
    """A convolution that rectifies its output, or adds it to another map, before it reaches memory.

    That is in inference, of channels-last float32 maps on the CPU; else it is torch's, and what follows is done after
    it. oneDNN's rectifier may make 0 of NaN.

    Args:
        conv: whose parameters it shares.

    Example:
        >>> conv, image = nn.Conv2d(3, 4, 1), torch.rand(1, 3, 8, 8).to(memory_format=torch.channels_last)
        >>> with torch.inference_mode():
        ...     torch.allclose(FusedConv2d(conv)(image, relu=True), conv(image).relu(), atol=1e-6)
        True
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        assert conv.padding_mode == "zeros"
        assert not isinstance(conv.padding, str)
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]  # torch says that it has as many numbers as you like
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, input: Tensor, relu: bool = False) -> Tensor:
        """`[N, C, H, W]` -> `[N, K, H', W']`, rectified where ``relu``."""
        if relu and self._fuses(input):
            output: Tensor = torch.ops.mkldnn._convolution_pointwise(
                input, self.weight, self.bias, *self._geometry(), "relu", [], ""
            )
            return output
        output = F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return F.relu_(output) if relu else output

    def add_to(self, other: Tensor, input: Tensor, *, relu: bool = False) -> Tensor:
        """``other`` + the convolution of ``input``: `[N, K, H', W']`, rectified where ``relu``.

        May be written over ``other``.
        """
        if self._fuses(input) and _is_dense(other):
            torch.ops.mkldnn._convolution_pointwise_.binary(
                other, input, self.weight, self.bias, *self._geometry(), "add", 1.0, "relu" if relu else None, [], None
            )
            return other
        sums = self(input).add_(other)
        return F.relu_(sums) if relu else sums

    def _geometry(self) -> tuple[object, ...]:
        return self.padding, self.stride, self.dilation, self.groups

    def _fuses(self, input: Tensor) -> bool:
        return (
            is_plain_eager(input, self.weight)
            and _is_dense(input)
            and self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not (torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad))
        )


def _is_dense(map: Tensor) -> bool:
    return (
        map.device.type == "cpu"
        and map.dtype == torch.float32
        and map.numel() > 0
        and map.is_contiguous(memory_format=torch.channels_last)
    )


def fusion_problem() -> str | None:
    """Why this torch has no such convolutions, as it has none where it is built without oneDNN; None where it has."""
    conv = FusedConv2d(nn.Conv2d(16, 16, 1, device="cpu", dtype=torch.float32)).requires_grad_(False)
    input = torch.ones(1, 16, 8, 8, device="cpu", dtype=torch.float32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", enabled=False):
        try:
            fused = conv.add_to(input.clone(), conv(input, relu=True), relu=True)
        except (AttributeError, NotImplementedError, RuntimeError) as error:
            return first_line(error)
        expected = F.relu(input + F.conv2d(F.conv2d(input, conv.weight, conv.bias).relu(), conv.weight, conv.bias))
    return None if torch.allclose(fused, expected, atol=1e-5) else "its results are wrong"
