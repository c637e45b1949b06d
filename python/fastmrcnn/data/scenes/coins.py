"""The surface of struck coins: raised rim, figure, letters or dots, wear; lit from one side."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .textures import Array, fractal_noise, smooth_noise


def coin_relief(rng: np.random.Generator, distance: Array, x: Array, y: Array, radius: float) -> Array:
    """Height [h, w] of a coin's face, about 0..1.5.

    ``distance`` [h, w]: distance from the centre over the coin's own radius in that direction, 1 at the edge.
    ``x``, ``y`` [h, w]: position over the radius. ``radius`` in pixels sets the finest detail.
    """
    shape = distance.shape
    height = _figure(rng, shape, radius)
    grain = fractal_noise(rng, shape, max(radius * rng.uniform(0.16, 0.34), 2.0), octaves=2)
    height = height * (1 + rng.uniform(0.3, 0.9) * grain) + rng.uniform(0.05, 0.25) * grain
    if rng.random() < 0.7:
        place, width = rng.uniform(0.86, 0.97), rng.uniform(0.04, 0.09)
        height = height + rng.uniform(0.4, 1.0) * np.exp(-(((distance - place) / np.float32(width)) ** 2))
    if rng.random() < 0.35:
        turns = rng.integers(18, 40)
        dots = np.sin(np.arctan2(y, x) * np.float32(turns)) * np.exp(-(((distance - 0.8) / np.float32(0.05)) ** 2))
        height = height + np.float32(rng.uniform(0.3, 0.7)) * dots
    return np.asarray(height, np.float32)


def _figure(rng: np.random.Generator, shape: tuple[int, ...], radius: float) -> Array:
    """The struck image: a lobed silhouette (head, animal) with strokes (hair, limbs, letters), blurred by wear."""
    rows, columns = shape
    centre = np.array([columns, rows]) / 2
    canvas = Image.new("L", (columns, rows))
    draw = ImageDraw.Draw(canvas)
    if rng.random() < 0.75:
        angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        radii = radius * rng.uniform(0.35, 0.75) * (1 + 0.3 * rng.standard_normal(14).clip(-1.5, 1.5))
        lobes = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
        draw.polygon([(float(a), float(b)) for a, b in lobes], fill=int(rng.integers(90, 160)))
    for _ in range(int(rng.integers(3, 16))):
        start = centre + rng.uniform(-0.7, 0.7, 2) * radius
        steps = np.cumsum(rng.normal(0, 0.16, (int(rng.integers(2, 6)), 2)), axis=0) * radius
        stroke = np.concatenate([start[None], start + steps])
        draw.line(
            [(float(a), float(b)) for a, b in stroke],
            fill=int(rng.integers(0, 255)),
            width=max(1, round(radius * rng.uniform(0.03, 0.12))),
        )
    worn = canvas.filter(ImageFilter.GaussianBlur(max(0.5, radius * rng.uniform(0.015, 0.05))))
    height: Array = np.asarray(worn, np.float32) / np.float32(160)
    return height


def emboss(height: Array, light: tuple[float, float], radius: float) -> Array:
    """Slope of ``height`` toward the light, in heights per coin radius; positive faces the light."""
    down, right = np.gradient(height)
    slope: Array = -(right * np.float32(light[0]) + down * np.float32(light[1])) * np.float32(0.12 * radius)
    return slope


def coin_brightness(
    rng: np.random.Generator,
    distance: Array,
    x: Array,
    y: Array,
    radius: float,
    light: tuple[float, float],
    contrast: float,
) -> Array:
    """Brightness [h, w] of a coin's face, about 1 on average: relief, tarnish in the hollows, lit and shaded edge."""
    height = coin_relief(rng, distance, x, y, radius)
    slope = emboss(height, light, radius)
    brightness = 1 + contrast * np.clip(slope, -1.1, 1.4)
    brightness = brightness + contrast * 0.35 * (np.clip(height, 0, 1.5) - 0.4)
    toward_light = x * np.float32(light[0]) + y * np.float32(light[1])
    edge = np.clip((distance - 0.86) / np.float32(0.14), 0, 1.2)
    brightness = brightness + edge * (rng.uniform(0.0, 0.4) * toward_light + rng.uniform(-0.12, 0.22))
    brightness = brightness + rng.uniform(0, 0.12) * toward_light
    brightness = brightness + rng.uniform(0.02, 0.1) * smooth_noise(rng, distance.shape, max(radius * 0.6, 2.0))
    return np.asarray(np.clip(brightness, 0.25, 2.2), np.float32)
