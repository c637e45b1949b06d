"""Grounds on which the objects lie."""

from __future__ import annotations

import numpy as np

from .textures import Array, fractal_noise, linear_ramp, mix, random_colour, smooth_noise, stripes


def draw_background(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """A textured colour ground [h, w, 3] in 0..1: cloth, boards, tiles, grass, gravel or a plain wall."""
    painters = (_cloudy, _boards, _tiles, _grass, _cloth, _plain)
    ground = painters[int(rng.integers(len(painters)))](rng, shape)
    return np.clip(ground, 0, 1).astype(np.float32)


def _two_near_colours(rng: np.random.Generator) -> tuple[Array, Array]:
    """A ground of two shades of about one colour: duller than the objects on average, but not always."""
    hue = rng.uniform(0, 1)
    ranges = ((hue, hue + 0.08), (0.05, 0.6), (0.2, 0.85))
    return random_colour(rng, *ranges), random_colour(rng, *ranges)


def _cloudy(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Stone, sand or clouds by the size of the features."""
    return mix(*_two_near_colours(rng), weight=0.5 + 0.45 * fractal_noise(rng, shape, rng.uniform(8, 90), 4))


def _boards(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Wood: bent fine grain."""
    grain = stripes(rng, shape, rng.uniform(6, 30), wobble=rng.uniform(0.1, 0.5))
    return mix(*_two_near_colours(rng), weight=0.5 + 0.3 * grain + 0.2 * fractal_noise(rng, shape, 12, 3))


def _tiles(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """A grid of tiles of slightly different shades."""
    side = rng.uniform(18, 70)
    rows, columns = (np.arange(n) + rng.uniform(0, side) for n in shape)
    shades = rng.standard_normal((64, 64), dtype=np.float32)
    tone = shades[(rows // side).astype(int)[:, None] % 64, (columns // side).astype(int)[None] % 64]
    joint = np.minimum((rows % side)[:, None], (columns % side)[None]) < rng.uniform(1, 3)
    weight = 0.5 + 0.2 * tone + 0.15 * smooth_noise(rng, shape, 5)
    ground = mix(*_two_near_colours(rng), weight=weight)
    ground *= np.where(joint, np.float32(rng.uniform(0.6, 1.2)), np.float32(1))[..., None]
    return ground


def _grass(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Fine, strong texture at the scale of the smallest objects."""
    fine = fractal_noise(rng, shape, rng.uniform(2.5, 7), 2)
    return mix(*_two_near_colours(rng), weight=0.5 + 0.4 * fine + 0.2 * smooth_noise(rng, shape, 60))


def _cloth(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """A weave or a striped cloth."""
    period = rng.uniform(5, 24)
    weave = stripes(rng, shape, period) * (stripes(rng, shape, period) if rng.random() < 0.5 else 1)
    return mix(*_two_near_colours(rng), weight=0.5 + 0.4 * weave + 0.15 * smooth_noise(rng, shape, 40))


def _plain(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """One colour fading into another."""
    weight = 0.5 + 0.5 * linear_ramp(rng, shape) + 0.05 * smooth_noise(rng, shape, 20)
    return mix(random_colour(rng, saturation=(0, 0.6)), random_colour(rng, saturation=(0, 0.6)), weight)
