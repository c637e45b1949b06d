"""Random fields from which surfaces, backgrounds and light are made.

Every function takes a ``numpy.random.Generator`` and returns float32 arrays; the same generator state gives the same
array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Array = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> Array:
    """Noise [h, w] of zero mean with features about ``cell`` pixels wide: bicubic through random lattice values."""
    height, width = shape
    cell = max(cell, 1.0)
    rows, columns = int(np.ceil(height / cell)) + 3, int(np.ceil(width / cell)) + 3
    lattice = rng.standard_normal((rows, columns), dtype=np.float32)
    offset_x, offset_y = rng.uniform(0.5, 1.5, 2)
    window = (offset_x, offset_y, offset_x + width / cell, offset_y + height / cell)
    field = Image.fromarray(lattice).resize((width, height), Image.Resampling.BICUBIC, box=window)
    return np.asarray(field, dtype=np.float32)


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 3) -> Array:
    """Sum of ``octaves`` layers of :func:`smooth_noise`, each half as coarse and half as strong as the one before."""
    field = smooth_noise(rng, shape, cell)
    for octave in range(1, octaves):
        field = field + smooth_noise(rng, shape, cell / 2**octave) * np.float32(0.5**octave)
    return field


def linear_ramp(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """A plane [h, w] that rises from -1 in one corner to 1 in the opposite one, in a random direction."""
    height, width = shape
    angle = rng.uniform(0, 2 * np.pi)
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    toward_x, toward_y = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    ramp: Array = (x * toward_x + y * toward_y) / (abs(toward_x) + abs(toward_y))
    return ramp


def stripes(rng: np.random.Generator, shape: tuple[int, int], period: float, wobble: float = 0.0) -> Array:
    """Sinusoidal stripes [h, w] in -1..1 of a random direction; ``wobble`` (in periods) bends them."""
    height, width = shape
    angle = rng.uniform(0, np.pi)
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    phase = (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))) / np.float32(period)
    if wobble > 0:
        phase = phase + smooth_noise(rng, shape, 4 * period) * np.float32(wobble)
    turns: Array = np.sin(phase * np.float32(2 * np.pi)).astype(np.float32)
    return turns


def blur(field: Array, radius: float) -> Array:
    """Box-approximated Gaussian blur of an [h, w] field in 0..1 (8-bit precision is enough for light and shadow)."""
    if radius <= 0:
        return field
    grey = Image.fromarray((np.clip(field, 0, 1) * 255 + 0.5).astype(np.uint8))
    blurred: Array = np.asarray(grey.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255)
    return blurred


def random_colour(
    rng: np.random.Generator,
    hue: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float] = (0.25, 0.95),
    value: tuple[float, float] = (0.35, 0.95),
) -> Array:
    """An RGB triple [3] in 0..1 drawn uniformly from ranges of hue, saturation and value (each in 0..1)."""
    h, s, v = rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value)
    sector = (h * 6 + np.array([5.0, 3.0, 1.0])) % 6
    return (v - v * s * np.clip(np.minimum(sector, 4 - sector), 0, 1)).astype(np.float32)


def mix(first: Array, second: Array, weight: Array) -> Array:
    """Blend two colours (or images) by a field [h, w] in 0..1: 0 gives the first; returns [h, w, 3]."""
    weight = np.clip(weight, 0, 1)[..., None]
    blended: Array = first + (second - first) * weight
    return blended
