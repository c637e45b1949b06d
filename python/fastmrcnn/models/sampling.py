"""Draw the boxes that take part in a loss, with a fixed share of positives (Girshick 2015, section 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn.models import padding


@dataclass(frozen=True)
class Sample:
    """The boxes of one image that take part in a loss, in slots whose number does not depend on how many there are."""

    chosen: Tensor  # [S] int64: indices of positives, then of negatives, then -1 for slots that stay empty
    positives: int  # positives stand in the first so many slots, and nowhere else

    @staticmethod
    def of(positive: Tensor, negative: Tensor) -> Sample:
        """A sample without empty slots, of indices [P] and [Q]."""
        return Sample(torch.cat((positive, negative)), positive.shape[0])

    def gather(self, values: Tensor, empty: int) -> Tensor:
        """The values, [N], of the chosen boxes, and ``empty`` for empty slots: [S]."""
        return torch.where(self.chosen >= 0, values[self.indices], empty)

    @property
    def indices(self) -> Tensor:
        """[S] int64 to index with: ``chosen``, with 0 in empty slots."""
        return self.chosen.clamp(min=0)


# (labels [N], how many, share of positives, generator) -> Sample; replace a model's sampler to fix the sample.
Sampler = Callable[[Tensor, int, float, torch.Generator | None], Sample]


def sample_balanced(
    labels: Tensor, count: int, positive_fraction: float, generator: torch.Generator | None = None
) -> Sample:
    """Draw at most ``count`` boxes, at most ``positive_fraction`` of them positive.

    Args:
        labels: [N]; >= 1 positive, 0 negative, -1 never drawn.
        count: how many to draw, and the slots of the sample; some stay empty where there are too few candidates.
        positive_fraction: in 0..1. Where positives are missing, negatives take their place.
        generator: of the device of ``labels``; None: torch's default one.

    Positives are drawn before negatives. On the CPU the same seed gives torchvision's sample.
    """
    positive = draw(labels >= 1, int(count * positive_fraction), generator)  # [P]
    negative = draw(labels == 0, count, generator)  # [S]
    positives = (positive >= 0).sum()
    slot = torch.arange(count, device=labels.device)
    following = negative[(slot - positives).clamp(min=0)]
    chosen = torch.where(slot < positives, F.pad(positive, (0, count - positive.shape[0])), following)
    return Sample(chosen, positive.shape[0])


def draw(candidates: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """``count`` different candidates at random, in random order: [N] bool -> [count] int64, -1 behind the last.

    A permutation of the candidates, as torchvision draws it, takes their number to the host. Where this would wait for
    a device, every box gets a random key, and the candidates of greatest key are drawn.
    """
    if padding.reading_is_free(candidates):
        found = torch.where(candidates)[0]
        drawn = found[torch.randperm(found.shape[0], generator=generator)[:count]]
    else:
        # In float64 no two keys are the same, so that the seed alone decides.
        keys = torch.rand(candidates.shape, dtype=torch.float64, device=candidates.device, generator=generator)
        greatest = torch.where(candidates, keys, -1).topk(min(count, candidates.shape[0]))
        drawn = torch.where(greatest.values >= 0, greatest.indices, -1)
    return F.pad(drawn, (0, count - drawn.shape[0]), value=-1)
