"""What every transform is, and how it draws."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fastmrcnn.data.sample import Sample


class Transform(Protocol):
    """A random change of a sample."""

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The changed sample; the given one stays as it is."""
        ...


def uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    """A number from ``low`` up to ``high``."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def whole(generator: torch.Generator, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def check_probability(name: str, probability: float) -> None:
    """``ValueError`` unless it is one."""
    if not 0 <= probability <= 1:
        raise ValueError(f"{name}: probability must be in 0..1; got {probability}")


def white(image: Tensor) -> float:
    """The value of full brightness in an image, which tells its depth."""
    return 1.0 if image.is_floating_point() else 255.0
