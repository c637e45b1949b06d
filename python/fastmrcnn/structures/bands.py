"""Between the image in a source and the one that is wanted: its bands, and their number brought to the wanted one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.structures.pixel_format import DEEPEST, PixelFormat


class Bands(NamedTuple):
    """An image as its source holds it."""

    pixels: Tensor  # [K, H, W]: uint8, or float32 in 0..1
    alpha: bool = False  # the last band says how opaque the others are


def fit_channels(bands: Bands, wanted: PixelFormat, name: str) -> Tensor:
    """The pixels [C, H, W] with the wanted number of channels, by the rules of :class:`PixelFormat`.

    ``name`` stands for the image in the UserError that is raised where there are too few or too many.
    """
    pixels, channels = bands.pixels, wanted.channels
    if bands.alpha and pixels.shape[0] != channels:
        pixels = over_white(pixels)
    found = pixels.shape[0]
    if channels is None or found == channels:
        return pixels
    if channels == 3 and found == 1:
        return pixels.expand(3, -1, -1)
    if channels == 1 and found == 3:
        if bool((pixels == pixels[:1]).all()):
            return pixels[:1]
        raise UserError(f"{name}: expected an image with 1 channel; found 3 (red, green and blue) that differ")
    found = bands.pixels.shape[0]
    raise UserError(
        f"{name}: expected an image with {_described(channels)}; found {found}{training_hint(wanted, found)}"
    )


def training_hint(wanted: PixelFormat, found: int) -> str:
    """How to get a model for images with that number of channels, where those of photographs were expected."""
    return f" (--channels {found} of fastmrcnn train and doctor is for such images)" if wanted.channels == 3 else ""


def over_white(pixels: Tensor) -> Tensor:
    """Bands of which the last is alpha, [K, H, W] uint8 or float in 0..1, composited over white: [K - 1, H, W]."""
    white = 1.0 if pixels.is_floating_point() else 255.0
    colour, alpha = pixels[:-1].float(), pixels[-1:].float() / white
    composite = colour * alpha + white * (1.0 - alpha)
    return composite if pixels.is_floating_point() else composite.round().to(torch.uint8)


def as_fractions(pixels: np.ndarray, top: float, name: str, kind: str) -> np.ndarray:
    """Numbers in 0..``top`` as float32 in 0..1; UserError where one is not. ``kind`` says what image they are of."""
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= top):  # NaN fails
        raise UserError(beyond_white(name, top, kind, low, high))
    fractions = pixels.astype(np.float32)  # exactly; and the quotient of two is that of float64, rounded
    fractions /= np.float32(top)
    return fractions


def beyond_white(name: str, top: float, kind: str, low: float, high: float) -> str:
    """The message for an image with numbers outside of 0..``top``."""
    hint = " (white_level says which number is white)" if low >= 0 and 1 < top < high <= DEEPEST else ""
    return f"{name}: expected values in 0..{top:g} in {kind}; got {low:g} to {high:g}{hint}"


def _described(channels: int) -> str:
    if channels == 3:
        return "3 channels (RGB) or 1 (grey)"
    return f"{channels} channel{'' if channels == 1 else 's'}"
