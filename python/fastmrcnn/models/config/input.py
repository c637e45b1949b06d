"""The configuration of what happens to an image before the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fastmrcnn.models.config.checks import require, require_choice, require_positive
from fastmrcnn.structures.pixel_format import DEEPEST, PixelFormat

ChannelOrder = Literal["rgb", "bgr"]
SizeRounding = Literal["down", "nearest", "nearest_even", "nearest_at_once"]
Resampling = Literal["bilinear", "antialias", "pil", "opencv", "zero_border"]
Frame = Literal["top_left", "centred_square"]


@dataclass(frozen=True)
class InputConfig:
    """How an image becomes the network's input: normalise, resize, pad to a common size.

    The network has as many input channels as ``mean`` and ``std`` have numbers: three are RGB, one is grey, any other
    number the bands of a file as they are (:class:`~fastmrcnn.structures.PixelFormat`).
    """

    min_size: int = 800  # the shorter side after resizing, px
    max_size: int = 1333  # the longer side never exceeds this, px; wins over min_size
    train_min_sizes: tuple[int, ...] = ()  # in training, one of these is drawn for each image; empty: min_size
    enlarge: bool = True  # False: images smaller than min_size keep their size
    shrink: bool = True  # False: images larger than min_size keep their size, unless max_size asks for less
    # Of the resized sides: torchvision drops the fraction, detectron2 takes the nearest whole pixel, the larger one of
    # two, Matterport the even one of two. "nearest_at_once" is detectron2's without an intermediate size (mmdetection).
    size_rounding: SizeRounding = "down"
    # "bilinear": no low-pass (torchvision). "antialias": a low-pass before shrinking. "pil": the same in 8 bits,
    # rounded to whole grey values before normalisation (detectron2). "opencv": no low-pass, in OpenCV's whole numbers
    # (mmdetection). "zero_border": no low-pass, black beyond the image, cut off to whole grey values (Matterport).
    resampling: Resampling = "antialias"
    channel_order: ChannelOrder = "rgb"  # of the network's input; the caller's images are RGB, or as their files are
    pixel_max: float = 1.0  # what white is before mean and std are applied: 1 (torchvision) or 255
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # one a channel, in the channel order, on the scale of pixel_max
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    white_level: int = DEEPEST  # the number that is white in images of 16 bits: 4095 where 12 of them are in use
    # "top_left": padded at the bottom and the right with zeros, after normalisation. "centred_square": in the middle of
    # a black square of max_size, before normalisation (Matterport).
    frame: Frame = "top_left"
    size_divisor: int = 32  # the padded batch is a multiple of this, px

    def __post_init__(self) -> None:
        require_positive(
            self,
            min_size=self.min_size,
            size_divisor=self.size_divisor,
            pixel_max=self.pixel_max,
        )
        require(len(self.mean) > 0, self, "mean must have a number for each channel", self.mean)
        expectation = f"std must have as many numbers as mean, {len(self.mean)}"
        require(len(self.std) == len(self.mean), self, expectation, self.std)
        if self.channel_order == "bgr":
            require(self.channels == 3, self, "channel_order bgr needs a mean of 3 numbers", self.mean)
        require(0 < self.white_level <= DEEPEST, self, f"white_level must lie in 1..{DEEPEST}", self.white_level)
        for deviation in self.std:
            require_positive(self, std=deviation)
        require(all(map(math.isfinite, self.mean)), self, "mean must be finite", self.mean)
        require(self.max_size >= self.min_size, self, f"max_size must be >= min_size {self.min_size}", self.max_size)
        require(
            all(0 < size <= self.max_size for size in self.train_min_sizes),
            self,
            f"train_min_sizes must lie in 1..{self.max_size}",
            self.train_min_sizes,
        )
        require_choice(self, SizeRounding, size_rounding=self.size_rounding)
        require_choice(self, Resampling, resampling=self.resampling)
        require_choice(self, ChannelOrder, channel_order=self.channel_order)
        require_choice(self, Frame, frame=self.frame)
        if self.frame == "centred_square":
            expectation = f"max_size must be a multiple of size_divisor {self.size_divisor} in a centred square"
            require(self.max_size % self.size_divisor == 0, self, expectation, self.max_size)

    @property
    def channels(self) -> int:
        """Of the network's input."""
        return len(self.mean)

    @property
    def pixel_format(self) -> PixelFormat:
        """As what the network's images are read."""
        return PixelFormat(self.channels, self.white_level)
