"""Random changes of a sample that keep image, boxes and masks together.

A transform is called with a sample and a ``torch.Generator`` and draws all its chances from that, so that the result
is a function of the sample and the generator's state. ``open_dataset(..., transforms=[...])`` does so for each sample.

>>> from fastmrcnn.data import CocoDataset
>>> from fastmrcnn.data.scenes import write_dataset
>>> sample = CocoDataset(write_dataset("scenes", images=1, seed=0), "scenes/images")[0]
>>> flipped = HorizontalFlip(probability=1)(sample, torch.Generator())
>>> torch.equal(flipped.boxes[:, 2], sample.image.shape[2] - sample.boxes[:, 0])
True
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn.data.keypoints import mirrored
from fastmrcnn.data.sample import Sample


class Transform(Protocol):
    """What every transform is."""

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The changed sample; the given one stays as it is."""
        ...


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _check_probability(name: str, probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"{name}: probability must be in 0..1; got {probability}")


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror left and right with a probability."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_probability("HorizontalFlip", self.probability)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Flip the image, the masks and x1, x2; keypoints change their side, and left ones become right ones."""
        if _uniform(generator, 0, 1) >= self.probability:
            return sample
        width = sample.image.shape[2]
        x1, y1, x2, y2 = sample.boxes.unbind(1)
        boxes = torch.stack([width - x2, y1, width - x1, y2], dim=1)
        return replace(
            sample,
            image=sample.image.flip(2),
            masks=sample.masks.flip(horizontal=True),
            boxes=boxes,
            keypoints=_mirror_keypoints(sample, 0, width),
        )


@dataclass(frozen=True)
class VerticalFlip:
    """Mirror top and bottom with a probability: for images that have no upright."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_probability("VerticalFlip", self.probability)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Flip the image, the masks and y1, y2; of keypoints too left ones become right ones, as in any mirror."""
        if _uniform(generator, 0, 1) >= self.probability:
            return sample
        height = sample.image.shape[1]
        x1, y1, x2, y2 = sample.boxes.unbind(1)
        boxes = torch.stack([x1, height - y2, x2, height - y1], dim=1)
        return replace(
            sample,
            image=sample.image.flip(1),
            masks=sample.masks.flip(vertical=True),
            boxes=boxes,
            keypoints=_mirror_keypoints(sample, 1, height),
        )


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast and saturation, each by a factor between 1 - ``strength`` and 1 + ``strength``."""

    strength: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"ColorJitter: strength must be in 0..1; got {self.strength}")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Only the image changes."""
        low, high = 1 - self.strength, 1 + self.strength
        brightness, contrast, saturation = (_uniform(generator, low, high) for _ in range(3))
        image = sample.image.float() * brightness
        image = torch.lerp(image.mean(), image, contrast)
        image = torch.lerp(_luminance(image), image, saturation)
        return replace(sample, image=_of_depth(image, sample.image))


@dataclass(frozen=True)
class RandomScale:
    """Resize image and objects by a factor drawn log-uniformly between ``smallest`` and ``largest``.

    Objects that lose their last pixel are left out.
    """

    smallest: float = 0.75
    largest: float = 1.33

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest:
            raise ValueError(f"RandomScale: 0 < smallest <= largest must hold; got {self.smallest}, {self.largest}")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Both sides are rounded to whole pixels; boxes follow the rounded size exactly."""
        share = _uniform(generator, 0, 1)
        factor = self.smallest ** (1 - share) * self.largest**share
        height, width = sample.image.shape[1:]
        return resize(sample, max(1, round(height * factor)), max(1, round(width * factor)))


def resize(sample: Sample, height: int, width: int) -> Sample:
    """The sample at another size: antialiased bilinear image, scaled polygons; objects left without a pixel go.

    Masks of run lengths take the nearest pixel.
    """
    old_height, old_width = sample.image.shape[1:]
    if (height, width) == (old_height, old_width):
        return sample
    pixels = F.interpolate(sample.image[None].float(), (height, width), mode="bilinear", antialias=True)[0]
    scale_x, scale_y = width / old_width, height / old_height
    resized = replace(
        sample,
        image=_of_depth(pixels, sample.image),
        boxes=sample.boxes * sample.boxes.new_tensor([scale_x, scale_y, scale_x, scale_y]),
        masks=sample.masks.resize(height, width),
        areas=sample.areas * (scale_x * scale_y),
        keypoints=_scaled(sample.keypoints, scale_x, scale_y),
    )
    return resized.select(resized.masks.areas() > 0)


def _mirror_keypoints(sample: Sample, axis: int, side: int) -> Tensor | None:
    """The keypoints in the image mirrored along x (``axis`` 0) or y (1), where it is ``side`` pixels long."""
    if sample.keypoints is None:
        return None
    keypoints = sample.keypoints[:, mirrored(sample.keypoint_names)]
    keypoints[..., axis] = side - keypoints[..., axis]
    return keypoints


def _scaled(keypoints: Tensor | None, x: float, y: float) -> Tensor | None:
    return None if keypoints is None else keypoints * keypoints.new_tensor([x, y, 1.0])


def _of_depth(pixels: Tensor, image: Tensor) -> Tensor:
    """Computed pixels, float32, in the range and the dtype of the image that they come from."""
    if image.is_floating_point():
        return pixels.clamp(0, 1)
    return pixels.round().clamp(0, 255).to(torch.uint8)


def _luminance(image: Tensor) -> Tensor:
    """Rec. 601 luma [1, H, W] of an RGB image [3, H, W]."""
    return (image * image.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0, keepdim=True)
