"""Photometric changes: the image alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastmrcnn.data.sample import Sample
from fastmrcnn.data.transforms.base import uniform, white


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue at random.

    Brightness, contrast and saturation are multiplied by a factor between 1 - x and 1 + x, each its own; the hue turns
    by an angle between -x and x of the whole circle. Saturation and hue are properties of RGB images: images of other
    numbers of channels change in brightness and contrast alone.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"ColorJitter: {name} must be in 0..1; got {getattr(self, name)}")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"ColorJitter: hue must be in 0..0.5; got {self.hue}")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Brightness, then contrast about the mean of the image, saturation and hue."""
        strengths = (self.brightness, self.contrast, self.saturation)
        brightness, contrast, saturation = (uniform(generator, 1 - x, 1 + x) for x in strengths)
        angle = 2 * math.pi * uniform(generator, -self.hue, self.hue)
        image = sample.image
        offset = (1 - contrast) * brightness * _mean(image)
        matrix = brightness * contrast * np.eye(len(image))
        if len(image) == 3 and (self.saturation or self.hue):
            matrix = brightness * contrast * colour_matrix(saturation, angle)
        return replace(sample, image=_transformed(image, matrix, offset))


def colour_matrix(saturation: float, angle: float) -> NDArray[np.float64]:
    """What multiplies RGB [3] to scale its saturation and turn its hue: colours move in their plane of equal luma.

    Greys stay as they are. The angle is in radians.
    """
    to_chroma = _YIQ[1:]
    from_chroma = np.linalg.inv(_YIQ)[:, 1:]
    cosine, sine = saturation * math.cos(angle), saturation * math.sin(angle)
    luma = np.tile(_YIQ[0], (3, 1))
    matrix: NDArray[np.float64] = luma + from_chroma @ np.array([[cosine, -sine], [sine, cosine]]) @ to_chroma
    return matrix


_BLOCK = 1 << 16  # pixels that are computed at a time: they stay in the cache, which halves the time

# From RGB to Rec. 601 luma and the two axes of colour of NTSC television.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


def _transformed(image: Tensor, matrix: NDArray[np.float64], offset: float) -> Tensor:
    """The image with each channel a weighted sum of the channels, plus an offset, in the image's depth."""
    pixels = image.reshape(len(image), -1)  # [C, P]
    changed = torch.empty_like(pixels)
    for block, result in zip(pixels.split(_BLOCK, dim=1), changed.split(_BLOCK, dim=1), strict=True):
        mixed = _weighted(block.float(), matrix).add_(offset).clamp_(0, white(image))
        result.copy_(mixed if image.is_floating_point() else mixed.round_())
    return changed.view(image.shape)


def _weighted(pixels: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    """Weighted sums of the channels of [C, P], one product and one addition at a time.

    A matrix product, or a fused multiplication and addition, may round otherwise with another number of threads.
    """
    mixed, product = torch.empty_like(pixels), torch.empty_like(pixels[0])
    for number, (channel, weights) in enumerate(zip(mixed, matrix.tolist(), strict=True)):
        torch.mul(pixels[number], weights[number], out=channel)
        for source, weight in enumerate(weights):
            if weight and source != number:
                channel += torch.mul(pixels[source], weight, out=product)
    return mixed


def _mean(image: Tensor) -> float:
    """Of all pixels, in the same bits with any number of threads: torch's own mean is not."""
    return float(image.numpy().mean(dtype=np.float64))
