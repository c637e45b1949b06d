"""Windows of an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fastmrcnn.data.sample import Sample
from fastmrcnn.data.transforms.base import check_probability, uniform, whole
from fastmrcnn.data.transforms.geometry import crop


@dataclass(frozen=True)
class RandomCrop:
    """Keep a window of the image, with a probability.

    Width and height are each a share of the image's, drawn between ``smallest`` and ``largest``. The window holds the
    centre of an object's box, each object as likely: a random window of a large image would often be empty.
    """

    probability: float = 0.5
    smallest: float = 0.5
    largest: float = 1.0

    def __post_init__(self) -> None:
        check_probability("RandomCrop", self.probability)
        if not 0 < self.smallest <= self.largest <= 1:
            raise ValueError(f"RandomCrop: 0 < smallest <= largest <= 1 must hold; got {self.smallest}, {self.largest}")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Objects without a pixel in the window are left out, the others cut: see `crop` of this package."""
        if uniform(generator) >= self.probability:
            return sample
        sides = sample.image.shape[1:]
        shares = (uniform(generator, self.smallest, self.largest) for _ in sides)
        height, width = (max(1, round(side * share)) for side, share in zip(sides, shares, strict=True))
        row, column = self._centre(sample, generator)
        top, left = (
            whole(generator, max(0, place - length + 1), min(place, side - length))
            for place, length, side in zip((row, column), (height, width), sides, strict=True)
        )
        return crop(sample, top, left, height, width)

    def _centre(self, sample: Sample, generator: torch.Generator) -> tuple[int, int]:
        """The pixel (row, column) at the centre of an object, or any pixel where there is no object."""
        height, width = sample.image.shape[1:]
        if len(sample) == 0:
            return whole(generator, 0, height - 1), whole(generator, 0, width - 1)
        x1, y1, x2, y2 = sample.boxes[whole(generator, 0, len(sample) - 1)].tolist()
        row, column = int((y1 + y2) / 2), int((x1 + x2) / 2)
        return min(max(row, 0), height - 1), min(max(column, 0), width - 1)
