"""One drawn object: its outline, its antialiased coverage and its colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .coins import coin_brightness
from .outlines import (
    Outline,
    box_outline,
    coin_outline,
    cross_outline,
    disc_outline,
    leaf_outline,
    moon_outline,
    rasterise,
    ring_outline,
    star_outline,
)
from .textures import Array, fractal_noise, mix, random_colour, smooth_noise


@dataclass(frozen=True)
class Sprite:
    """An object ready to be laid on an image; it may reach over the image's edge."""

    class_name: str
    outline: Outline  # in image pixels
    left: int
    top: int
    coverage: Array  # [h, w] in 0..1
    colour: Array  # [h, w, 3] in 0..1


@dataclass(frozen=True)
class Surface:
    """What a material needs to know of the pixels that it paints."""

    u: Array  # [h, w] position in the outline's unit coordinates
    v: Array
    x: Array  # [h, w] offset from the centre over the radius, in the image's directions
    y: Array
    radius: float  # pixels
    light: tuple[float, float]  # unit vector of the image plane, toward the light

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the patch."""
        return self.u.shape[0], self.u.shape[1]

    @property
    def toward_light(self) -> Array:
        """[h, w] offset from the centre along the light, about -1..1."""
        along: Array = self.x * np.float32(self.light[0]) + self.y * np.float32(self.light[1])
        return along


Material = Callable[[np.random.Generator, Surface], Array]


def _paint_ball(rng: np.random.Generator, surface: Surface) -> Array:
    """A glossy sphere: plain, striped or spotted."""
    colour = mix(*_two_colours(rng), weight=_pattern(rng, surface))
    height = np.sqrt(np.clip(1 - surface.u**2 - surface.v**2, 0.02, 1))
    facing = 0.45 * height + 0.55 * surface.toward_light
    gloss = np.clip(0.55 * height + 0.8 * surface.toward_light, 0, 1) ** np.float32(rng.uniform(12, 40))
    painted: Array = _lit(colour, 0.55 + 0.6 * facing) + np.float32(rng.uniform(0.1, 0.6)) * gloss[..., None]
    return painted


def _pattern(rng: np.random.Generator, surface: Surface) -> Array:
    kind = rng.random()
    if kind < 0.4:
        return np.zeros(surface.shape, np.float32)
    if kind < 0.7:
        turns = np.float32(rng.uniform(1.5, 4))
        return np.asarray(np.sin(surface.u * turns * np.float32(np.pi)) > 0, np.float32)
    blotches = smooth_noise(rng, surface.shape, max(0.5 * surface.radius, 2))
    return np.asarray(np.clip(blotches * 3, 0, 1), np.float32)


def _paint_box(rng: np.random.Generator, surface: Surface) -> Array:
    """A crate or parcel: boards or tape, a darker border, a grain along u."""
    wood = rng.random() < 0.5
    colour = random_colour(rng, hue=(0.04, 0.13) if wood else (0, 1), saturation=(0.2, 0.8), value=(0.4, 0.9))
    shade = 0.85 + 0.2 * surface.toward_light
    border = np.maximum(np.abs(surface.u) / 0.82, np.abs(surface.v) / np.float32(rng.uniform(0.5, 0.7)))
    shade = shade * (1 - np.float32(rng.uniform(0.0, 0.35)) * (border > 0.85))
    if wood:
        boards = np.float32(rng.uniform(2, 6))
        shade = shade * (1 - 0.35 * (np.abs(((surface.v + 1) * boards) % 1 - 0.5) > 0.44))
    face = np.broadcast_to(colour, (*surface.shape, 3))
    if rng.random() < 0.5:
        band = (np.abs(surface.u - rng.uniform(-0.3, 0.3)) < rng.uniform(0.08, 0.2)).astype(np.float32)
        face = mix(face, random_colour(rng, saturation=(0.0, 0.9)), band)
    return _lit(face, shade + 0.1 * fractal_noise(rng, surface.shape, max(0.3 * surface.radius, 2), 2))


def _paint_star(rng: np.random.Generator, surface: Surface) -> Array:
    """A flat or embossed star, one colour from the middle to another at the points."""
    distance = np.hypot(surface.u, surface.v)
    inner, outer = _two_colours(rng)
    ridges = np.cos(np.arctan2(surface.v, surface.u) * np.float32(rng.integers(4, 8)))
    shade = 0.9 + 0.2 * surface.toward_light + np.float32(rng.uniform(0, 0.2)) * ridges * distance
    return _lit(mix(inner, outer, distance), shade)


def _paint_ring(rng: np.random.Generator, surface: Surface) -> Array:
    """A torus: bright along the crest that faces the light."""
    first, second = _two_colours(rng)
    weight = np.clip(smooth_noise(rng, surface.shape, max(0.5 * surface.radius, 2)) * 2, 0, 1)
    distance = np.hypot(surface.x, surface.y)
    side = np.clip((distance - 0.75) * 4, -1, 1)
    outward = surface.toward_light / np.maximum(distance, np.float32(0.2))
    return _lit(mix(first, second, weight * np.float32(rng.uniform(0, 1))), 0.8 + 0.4 * side * outward)


def _paint_leaf(rng: np.random.Generator, surface: Surface) -> Array:
    """A leaf between green, yellow and red-brown, with a midrib and side veins."""
    hue = rng.uniform(0.0, 0.38)
    base = random_colour(rng, hue=(hue, hue + 0.02), saturation=(0.5, 0.95), value=(0.3, 0.8))
    autumn = random_colour(rng, hue=(hue - 0.08, hue), saturation=(0.5, 0.95), value=(0.3, 0.8))
    colour = mix(base, autumn, 0.5 + 0.7 * fractal_noise(rng, surface.shape, max(0.6 * surface.radius, 2), 2))
    midrib = np.exp(-((surface.v / 0.04) ** 2))
    slant = surface.u - np.abs(surface.v) * np.float32(rng.uniform(0.8, 1.5))
    veins = np.clip(np.sin(slant * np.float32(rng.uniform(14, 22))) - 0.7, 0, 1) * 1.5
    sign = 1 if rng.random() < 0.7 else -1
    shade = 0.85 + sign * (0.35 * midrib + 0.3 * veins) + 0.15 * surface.toward_light
    return _lit(colour, shade)


def _paint_coin(rng: np.random.Generator, surface: Surface) -> Array:
    """Gold, copper, brass or silver, struck and worn."""
    hue, saturation = [(0.12, 0.6), (0.06, 0.55), (0.11, 0.35), (0.6, 0.06), (0.1, 0.08)][int(rng.integers(5))]
    metal = random_colour(rng, (hue - 0.02, hue + 0.02), (saturation * 0.7, saturation), (0.45, 0.85))
    distance = np.hypot(surface.u, surface.v)
    face = coin_brightness(
        rng, distance, surface.x, surface.y, surface.radius, surface.light, contrast=rng.uniform(0.25, 0.7)
    )
    return _lit(np.broadcast_to(metal, (*surface.shape, 3)), face)


def _two_colours(rng: np.random.Generator) -> tuple[Array, Array]:
    return random_colour(rng), random_colour(rng)


def _lit(colour: Array, brightness: Array) -> Array:
    lit: Array = colour * brightness[..., None].astype(np.float32)
    return lit


def _coin(rng: np.random.Generator) -> Outline:
    return coin_outline(rng, rng.uniform(0.0, 0.03))


_CLASSES: dict[str, tuple[Callable[[np.random.Generator], Outline], Material]] = {
    "ball": (disc_outline, _paint_ball),
    "box": (box_outline, _paint_box),
    "star": (star_outline, _paint_star),
    "ring": (ring_outline, _paint_ring),
    "leaf": (leaf_outline, _paint_leaf),
    "coin": (_coin, _paint_coin),
    "moon": (moon_outline, _paint_star),
    "cross": (cross_outline, _paint_box),
}

CLASS_NAMES: tuple[str, ...] = ("ball", "box", "star", "ring", "leaf", "coin")
"""The classes of the embedded data set; ``write_dataset`` numbers them from 1 in this order."""

NEW_CLASS_NAMES: tuple[str, ...] = ("moon", "cross")
"""Classes that the shipped weights were not trained on: something for fine-tuning to learn."""


def draw_object(
    rng: np.random.Generator,
    class_name: str,
    centre: tuple[float, float],
    radius: float,
    light: tuple[float, float],
) -> Sprite:
    """Draw one object of a class.

    Args:
        rng: source of the outline's and the surface's variety.
        class_name: one of :data:`CLASS_NAMES` or :data:`NEW_CLASS_NAMES`.
        centre: (x, y) in image pixels.
        radius: of the circle that the object fits, pixels.
        light: unit vector in the image plane toward the light.
    """
    make_outline, paint = _CLASSES[class_name]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    outline = make_outline(rng).transformed(radius * turn, np.array(centre))
    left, top, coverage = rasterise(outline)
    surface = _surface(left, top, coverage.shape, centre, radius, turn, light)
    colour = np.clip(paint(rng, surface), 0, 1).astype(np.float32)
    return Sprite(class_name, outline, left, top, coverage, colour)


def _surface(
    left: int,
    top: int,
    shape: tuple[int, ...],
    centre: tuple[float, float],
    radius: float,
    turn: NDArray[np.float64],
    light: tuple[float, float],
) -> Surface:
    x = (np.arange(left, left + shape[1], dtype=np.float32) + 0.5 - np.float32(centre[0])) / np.float32(radius)
    y = (np.arange(top, top + shape[0], dtype=np.float32) + 0.5 - np.float32(centre[1])) / np.float32(radius)
    x, y = np.broadcast_to(x, shape), np.broadcast_to(y[:, None], shape)
    inverse = turn.T.astype(np.float32)
    u = inverse[0, 0] * x + inverse[0, 1] * y
    v = inverse[1, 0] * x + inverse[1, 1] * y
    return Surface(u, v, x, y, radius, light)
