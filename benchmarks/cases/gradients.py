"""The backward pass alone, timed on graphs that are built once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.workloads import generator

Forward = Callable[[list[Tensor]], Tensor]


def backward(forward: Forward, inputs: Sequence[Tensor]) -> Callable[[], Tensor | tuple[Tensor, ...]]:
    """A function that computes the gradient of the one input, or the tuple of those of several.

    The gradient of the output has the output's layout and the same values, exact in bfloat16, whatever the dtype.
    """
    leaves = [value.clone(memory_format=torch.preserve_format).requires_grad_() for value in inputs]
    output = forward(leaves)
    values = torch.randn(output.shape, generator=generator()).bfloat16()
    gradient = torch.empty_like(output).copy_(values)

    def run() -> Tensor | tuple[Tensor, ...]:
        gradients = torch.autograd.grad(output, leaves, gradient, retain_graph=True)
        return gradients[0] if len(gradients) == 1 else gradients

    return run
