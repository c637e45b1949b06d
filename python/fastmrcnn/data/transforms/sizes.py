"""Images at a drawn size: the two ways of published schedules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fastmrcnn.data.sample import Sample
from fastmrcnn.data.transforms.base import uniform, whole
from fastmrcnn.data.transforms.geometry import Fill, crop, pad, resize


@dataclass(frozen=True)
class MultiScale:
    """Resize the shorter side to one of ``sizes``, each as likely, or to what ``max_size`` allows for the longer one.

    All lengths in pixels. Every object stays: see :func:`~fastmrcnn.data.transforms.resize`.
    """

    sizes: tuple[int, ...]
    max_size: int = 1333
    enlarge: bool = True  # False: images that are smaller keep their size

    def __post_init__(self) -> None:
        if not self.sizes or not all(0 < size <= self.max_size for size in self.sizes):
            raise ValueError(f"MultiScale: sizes must lie in 1..{self.max_size}, at least one; got {self.sizes}")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Both sides are rounded to whole pixels; boxes follow the rounded size exactly."""
        shorter = self.sizes[whole(generator, 0, len(self.sizes) - 1)]
        height, width = sample.image.shape[1:]
        scale = min(shorter / min(height, width), self.max_size / max(height, width))
        if not self.enlarge:
            scale = min(scale, 1.0)
        return resize(sample, max(1, round(height * scale)), max(1, round(width * scale)))


@dataclass(frozen=True)
class LargeScaleJitter:
    """Large-scale jitter (Ghiasi et al. 2021): a wide range of scales in a square of one size.

    The image is scaled to fit into ``size`` times a number drawn between ``smallest`` and ``largest``; what is then
    larger than the square is cut at a random place, and what is smaller is padded at the right and the bottom.
    """

    size: int = 1024  # side of the square, px
    smallest: float = 0.1
    largest: float = 2.0
    fill: Fill = 0.5  # of the padding: a grey, 0 black to 1 white, or a value for each channel

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"LargeScaleJitter: size must be at least 1; got {self.size}")
        if not 0 < self.smallest <= self.largest < float("inf"):
            raise ValueError(
                f"LargeScaleJitter: 0 < smallest <= largest must hold; got {self.smallest}, {self.largest}"
            )
        if not all(0 <= value <= 1 for value in np.atleast_1d(self.fill)):
            raise ValueError(f"LargeScaleJitter: fill must be in 0..1; got {self.fill}")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Objects whose scaled box is smaller than a pixel are left out: there is nothing to be seen of them."""
        scale = uniform(generator, self.smallest, self.largest) * self.size / max(sample.image.shape[1:])
        height, width = (max(1, round(side * scale)) for side in sample.image.shape[1:])
        top, left = (whole(generator, 0, max(side - self.size, 0)) for side in (height, width))
        scaled = resize(sample, height, width)
        boxes = scaled.boxes
        scaled = scaled.select((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) >= 1)
        height, width = min(height, self.size), min(width, self.size)
        window = crop(scaled, top, left, height, width)
        return pad(window, 0, 0, self.size - height, self.size - width, fill=self.fill)
