"""Grey photographs of coins laid out on a dark, unevenly lit ground, as in a museum's catalogue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .camera import develop, sharpen
from .canvas import Canvas, SceneObject
from .coins import coin_brightness
from .outlines import coin_outline, rasterise
from .sprites import Sprite
from .textures import Array, fractal_noise, linear_ramp, smooth_noise


def draw_coin_tray(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[NDArray[np.uint8], list[SceneObject]]:
    """Returns the image, uint8 [H, W, 3] with equal channels, and its coins."""
    ramp = linear_ramp(rng, shape)
    ground = _ground(rng, shape, ramp)
    # The coins' own light is more even than the ground's: dark cloth glows where the lamp grazes it, and coins there
    # stand out little.
    metal = rng.uniform(0.38, 0.68) + rng.uniform(-0.02, 0.1) * ramp + 0.02 * smooth_noise(rng, shape, 120)
    metal = np.maximum(metal, ground + rng.uniform(0.02, 0.12))
    canvas = Canvas(np.repeat(ground[..., None], 3, axis=2).astype(np.float32))
    toward = rng.normal(-0.6 * np.pi, 0.5)
    light = (float(np.cos(toward)), float(np.sin(toward)))
    contrast = rng.uniform(0.2, 0.55)
    irregularity = rng.uniform(0.005, 0.03)
    shadow = rng.uniform(0, 2.5), rng.uniform(1, 4), rng.uniform(0.1, 0.6)  # distance, blur, strength
    for x, y, radius in _layout(rng, shape):
        column, row = (int(np.clip(v, 0, n - 1)) for v, n in ((x, shape[1]), (y, shape[0])))
        brightness = float(metal[row, column]) * rng.uniform(0.88, 1.15)
        sprite = _draw_grey_coin(rng, (x, y), radius, light, brightness, contrast, irregularity)
        canvas.try_place(sprite, (-light[0] * shadow[0], -light[1] * shadow[0], shadow[1], shadow[2]))
    grey = canvas.image[..., :1]
    exposed = develop(rng, grey, blur_radius=rng.uniform(0.0, 0.7), noise=rng.uniform(0.005, 0.03))
    if rng.random() < 0.5:
        exposed = sharpen(exposed, strength=rng.uniform(0.2, 0.9))
    return np.repeat(exposed, 3, axis=2), canvas.objects()


def _ground(rng: np.random.Generator, shape: tuple[int, int], ramp: Array) -> Array:
    """Brightness [h, w] of the ground: dark to middle grey, with a gradient, stains, dust and scratches."""
    darkest = rng.uniform(0.05, 0.22)
    rise = rng.uniform(0.03, 0.4)
    ground = darkest + rise * np.clip(0.5 + 0.5 * ramp, 0, 1) ** np.float32(rng.uniform(0.8, 2))
    ground = ground * (1 + 0.08 * smooth_noise(rng, shape, rng.uniform(60, 150)))
    ground = ground + rng.uniform(0.002, 0.02) * fractal_noise(rng, shape, rng.uniform(2, 6), 2)
    dust = rng.random(shape, dtype=np.float32) > 1 - rng.uniform(0, 0.0008)
    ground = ground + np.float32(rng.uniform(0.05, 0.3)) * dust
    if rng.random() < 0.25:
        ground = np.where(np.abs(ramp) > rng.uniform(0.9, 1.2), np.float32(0.02), ground)
    return np.asarray(np.clip(ground, 0.01, 0.6), np.float32)


def _layout(rng: np.random.Generator, shape: tuple[int, int]) -> list[tuple[float, float, float]]:
    """Centres and radii (pixels) of 8 to 30 coins: three of four times in rows, otherwise scattered."""
    height, width = shape
    if rng.random() < 0.25:
        radius = rng.uniform(11, 28)
        room = int(0.4 * height * width / (np.pi * radius**2))
        count = min(int(rng.integers(8, 31)), room)
        spots = rng.uniform(0, 1, (count, 2)) * (width, height)
        return [(float(x), float(y), _vary(rng, radius)) for x, y in spots]
    rows, columns = int(rng.integers(2, 6)), int(rng.integers(3, 8))
    cell_width, cell_height = width / columns, height / rows
    radius = min(cell_width, cell_height) * rng.uniform(0.3, 0.43)
    if radius < 9:
        rows, columns = 3, 4
        cell_width, cell_height = width / columns, height / rows
        radius = min(cell_width, cell_height) * 0.33
    radius = min(radius, 48.0)
    jitter = rng.uniform(0.02, 0.1) * radius + 0.3 * max(0.0, min(cell_width, cell_height) / 2 - radius)
    coins = []
    for row in range(rows):
        for column in range(columns):
            if rng.random() < 0.06:
                continue
            x = (column + 0.5) * cell_width + rng.normal(0, jitter)
            y = (row + 0.5) * cell_height + rng.normal(0, jitter)
            coins.append((float(x), float(y), _vary(rng, radius)))
    return coins


def _vary(rng: np.random.Generator, radius: float) -> float:
    return float(radius * np.clip(rng.normal(1, 0.15), 0.75, 1.45))


def _draw_grey_coin(
    rng: np.random.Generator,
    centre: tuple[float, float],
    radius: float,
    light: tuple[float, float],
    brightness: float,
    contrast: float,
    irregularity: float,
) -> Sprite:
    unit = coin_outline(rng, irregularity * rng.uniform(0.5, 1.6))
    outline = unit.transformed(radius * np.eye(2), np.array(centre))
    left, top, coverage = rasterise(outline)
    x = (np.arange(left, left + coverage.shape[1], dtype=np.float32) + 0.5 - np.float32(centre[0])) / np.float32(radius)
    y = (np.arange(top, top + coverage.shape[0], dtype=np.float32) + 0.5 - np.float32(centre[1])) / np.float32(radius)
    x, y = np.broadcast_to(x, coverage.shape), np.broadcast_to(y[:, None], coverage.shape)
    distance = _distance_over_edge(x, y, unit.exterior)
    face = brightness * coin_brightness(rng, distance, x, y, radius, light, contrast * rng.uniform(0.7, 1.4))
    colour = np.repeat(np.clip(face, 0, 1).astype(np.float32)[..., None], 3, axis=2)
    return Sprite("coin", outline, left, top, coverage, colour)


def _distance_over_edge(x: Array, y: Array, exterior: NDArray[np.float64]) -> Array:
    """Distance from the centre over the outline's distance in the same direction (1 on the edge)."""
    edge_angles = np.arctan2(exterior[:, 1], exterior[:, 0])
    order = np.argsort(edge_angles)
    edge = np.hypot(exterior[:, 0], exterior[:, 1])[order]
    at_edge = np.interp(np.arctan2(y, x), edge_angles[order], edge, period=2 * np.pi)
    return (np.hypot(x, y) / at_edge).astype(np.float32)
