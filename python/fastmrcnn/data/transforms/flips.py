"""Mirror images."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fastmrcnn.data.sample import Sample
from fastmrcnn.data.transforms.base import check_probability, uniform
from fastmrcnn.data.transforms.geometry import mirror


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror left and right with a probability."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("HorizontalFlip", self.probability)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Keypoints change their side: left ones become right ones."""
        return mirror(sample, horizontal=True) if uniform(generator) < self.probability else sample


@dataclass(frozen=True)
class VerticalFlip:
    """Mirror top and bottom with a probability: for images that have no upright."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("VerticalFlip", self.probability)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Of keypoints too left ones become right ones, as in any mirror."""
        return mirror(sample, horizontal=False) if uniform(generator) < self.probability else sample
