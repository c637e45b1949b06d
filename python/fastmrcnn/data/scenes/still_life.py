"""Coloured scenes: up to 10 objects of all classes on a textured ground, sometimes with a crowd."""

from __future__ import annotations

import numpy as np

from .backgrounds import draw_background
from .camera import expose
from .canvas import Canvas, SceneObject
from .sprites import draw_object

_ATTEMPTS_PER_OBJECT = 6
_RADIUS_RANGE = (7.0, 72.0)  # pixels, drawn log-uniformly: tiny to large


def draw_still_life(
    rng: np.random.Generator, shape: tuple[int, int], classes: tuple[str, ...], *, crowd: bool = False
) -> tuple[np.ndarray, list[SceneObject]]:
    """Returns the image, uint8 [H, W, 3], and its objects from back to front; a ``crowd`` comes on top of them."""
    canvas = Canvas(draw_background(rng, shape))
    toward = rng.uniform(0, 2 * np.pi)
    light = (float(np.cos(toward)), float(np.sin(toward)))
    softness, strength = rng.uniform(1, 5), rng.choice([0.0, rng.uniform(0.2, 0.65)], p=[0.2, 0.8])

    def shadow(radius: float) -> tuple[float, float, float, float]:
        length = 0.15 * radius + 1
        return -light[0] * length, -light[1] * length, softness * (0.4 + radius / 60), float(strength)

    if crowd:
        _scatter_crowd(rng, canvas, shape, classes, light)
    wanted = int(rng.integers(4, 11))
    for _ in range(wanted * _ATTEMPTS_PER_OBJECT):
        radius = _draw_radius(rng, shape)
        centre = (float(rng.uniform(0, shape[1])), float(rng.uniform(0, shape[0])))
        sprite = draw_object(rng, str(rng.choice(classes)), centre, radius, light)
        wanted -= canvas.try_place(sprite, shadow(radius))
        if wanted == 0:
            break
    return expose(rng, canvas.image), canvas.objects()


def _draw_radius(rng: np.random.Generator, shape: tuple[int, int]) -> float:
    smallest, largest = _RADIUS_RANGE
    largest = min(largest, 0.3 * min(shape))
    return float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))


def _scatter_crowd(
    rng: np.random.Generator,
    canvas: Canvas,
    shape: tuple[int, int],
    classes: tuple[str, ...],
    light: tuple[float, float],
) -> None:
    """A heap of small objects of one class, too dense to be told apart: one crowd region."""
    class_name = str(rng.choice(classes))
    middle = rng.uniform(0.2, 0.8, 2) * (shape[1], shape[0])
    spread = rng.uniform(10, 25)
    for _ in range(int(rng.integers(15, 35))):
        x, y = middle + rng.normal(0, spread, 2)
        sprite = draw_object(rng, class_name, (float(x), float(y)), float(rng.uniform(4, 8)), light)
        canvas.try_place(sprite, (0.0, 0.0, 1.0, 0.3), crowd=0)
