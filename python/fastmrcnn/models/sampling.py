"""Draw the boxes that take part in a loss, with a fixed share of positives (Girshick 2015, section 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """Indices of the boxes of one image that take part in a loss, both int64, in rising order."""

    positive: Tensor  # [P]
    negative: Tensor  # [Q]

    @property
    def both(self) -> Tensor:
        """[P + Q], in rising order."""
        return torch.cat((self.positive, self.negative)).sort().values


# (labels [N], how many, share of positives) -> Sample; replace a model's sampler to fix the sample.
Sampler = Callable[[Tensor, int, float], Sample]


def sample_balanced(labels: Tensor, count: int, positive_fraction: float) -> Sample:
    """Draw at most ``count`` boxes, at most ``positive_fraction`` of them positive.

    Args:
        labels: [N]; >= 1 positive, 0 negative, -1 never drawn.
        count: how many to draw; fewer come back where there are too few candidates.
        positive_fraction: in 0..1. Where positives are missing, negatives take their place.

    The two calls of ``torch.randperm`` (positives, then negatives) draw from torch's default generator of the device,
    in torchvision's order: the same seed gives the same sample.
    """
    positive = torch.where(labels >= 1)[0]
    negative = torch.where(labels == 0)[0]
    positives = min(positive.numel(), int(count * positive_fraction))
    negatives = min(negative.numel(), count - positives)
    drawn_positive = torch.randperm(positive.numel(), device=labels.device)[:positives]
    drawn_negative = torch.randperm(negative.numel(), device=labels.device)[:negatives]
    return Sample(positive[drawn_positive].sort().values, negative[drawn_negative].sort().values)
