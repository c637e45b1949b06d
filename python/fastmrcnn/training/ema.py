"""A running average of a model's weights, which is often better than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from fastmrcnn.models import MaskRCNN


class WeightAverage:
    """The exponential moving average of a model's parameters (Polyak and Juditsky 1992).

    In the first steps the average forgets faster, so that it does not keep the random weights of the start: step t
    counts with 1 - min(decay, (1 + t) / (10 + t)). Buffers (the statistics of batch norms are averages already) are
    those of the model.

    Args:
        model: what is averaged; the average starts as a copy of it.
        decay: what an average keeps of itself in a step, in 0..1; 0.999 averages about a thousand steps.

    >>> from fastmrcnn.models import tiny
    >>> model = MaskRCNN(tiny(["coin"]))
    >>> average = WeightAverage(model, decay=0.5)
    >>> with torch.no_grad():
    ...     before = model.rpn.head.objectness.bias.clone()
    ...     _ = model.rpn.head.objectness.bias.add_(2)
    >>> average.update(model, step=100)
    >>> torch.equal(average.model.rpn.head.objectness.bias, before + 1)
    True
    """

    def __init__(self, model: MaskRCNN, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: MaskRCNN, step: int) -> None:
        """Take in the weights of ``model`` after ``step`` finished steps."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(averages, [*model.parameters()], share)
        for average, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(buffer)
