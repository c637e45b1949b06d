"""What light, lens and sensor do to a finished scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .textures import Array, linear_ramp, smooth_noise


def expose(rng: np.random.Generator, image: Array) -> NDArray[np.uint8]:
    """Uneven light, tint, blur and noise; [H, W, 3] float in 0..1 to uint8."""
    shape = image.shape[:2]
    light = 1 + rng.uniform(0, 0.4) * linear_ramp(rng, shape)
    light = light + rng.uniform(0, 0.15) * smooth_noise(rng, shape, 0.4 * max(shape))
    tint = 1 + rng.normal(0, 0.04, 3).astype(np.float32)
    gain = np.float32(rng.uniform(0.7, 1.1))
    exposed = image * (light * gain).astype(np.float32)[..., None] * tint
    return develop(rng, exposed, blur_radius=max(0.0, rng.uniform(-0.4, 0.9)), noise=rng.uniform(0.005, 0.04))


def develop(rng: np.random.Generator, image: Array, blur_radius: float, noise: float) -> NDArray[np.uint8]:
    """Lens blur (pixels), then sensor noise (standard deviation, in 0..1); float [H, W, C] to uint8."""
    pixels = _to_bytes(image)
    if blur_radius > 0:
        picture = Image.fromarray(pixels.squeeze() if image.shape[2] == 1 else pixels)
        pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(blur_radius))).reshape(image.shape)
    grain = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(noise)
    return _to_bytes(pixels * np.float32(1 / 255) + grain)


def sharpen(pixels: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """Unsharp masking as scanners apply it: dark halos around bright objects. [H, W, 1] to [H, W, 1]."""
    picture = Image.fromarray(pixels.squeeze(2))
    return np.asarray(picture.filter(ImageFilter.UnsharpMask(2, int(100 * strength), 0)))[..., None]


def _to_bytes(image: Array) -> NDArray[np.uint8]:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
