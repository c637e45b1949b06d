"""Silhouettes of the scenes' objects, as polygons in unit coordinates: the object fits a circle of radius 1 about 0, 0.

A :class:`Outline` is an exterior and any number of holes. Coordinates are continuous and follow COCO: pixel ``i``
covers ``i`` to ``i + 1``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]

_SUPERSAMPLING = 4  # sub-pixels per pixel side: 17 levels of coverage along an edge


@dataclass(frozen=True)
class Outline:
    """A simple polygon ``exterior`` [P, 2] of (x, y), less the polygons ``holes``."""

    exterior: Points
    holes: tuple[Points, ...] = ()

    def transformed(self, matrix: Points, offset: Points) -> Outline:
        """The outline after ``point -> matrix @ point + offset``."""
        return Outline(self.exterior @ matrix.T + offset, tuple(hole @ matrix.T + offset for hole in self.holes))


def rasterise(outline: Outline, margin: int = 1) -> tuple[int, int, NDArray[np.float32]]:
    """Antialiased coverage of an outline.

    Returns ``left, top`` (pixels, may be negative) and coverage [h, w] in 0..1, with ``margin`` empty pixels around.
    """
    left, top = (int(v) - margin for v in np.floor(outline.exterior.min(axis=0)))
    right, bottom = (int(v) + margin for v in np.ceil(outline.exterior.max(axis=0)))
    width, height = right - left, bottom - top
    canvas = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for points, fill in [(outline.exterior, 255), *((hole, 0) for hole in outline.holes)]:
        # ImageDraw puts integers at pixel centres, COCO at pixel corners.
        corners = (points - (left, top)) * _SUPERSAMPLING - 0.5
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=fill)
    coverage = np.asarray(canvas.reduce(_SUPERSAMPLING), dtype=np.float32) / np.float32(255)
    return left, top, coverage


def _polar(angles: Points, radii: Points) -> Points:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def disc_outline(rng: np.random.Generator, points: int = 48) -> Outline:
    """A circle."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return Outline(_polar(angles, np.ones(points)))


def box_outline(rng: np.random.Generator) -> Outline:
    """A rectangle of side ratio 0.5 to 1, its corners moved a little as by perspective."""
    ratio = rng.uniform(0.5, 1.0)
    half = np.array([1.0, ratio]) / np.hypot(1.0, ratio)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return Outline(corners * 0.95 + rng.uniform(-0.05, 0.05, (4, 2)))


def star_outline(rng: np.random.Generator) -> Outline:
    """A star of 4 to 7 points."""
    spikes = int(rng.integers(4, 8))
    radii = np.where(np.arange(2 * spikes) % 2 == 0, 1.0, rng.uniform(0.38, 0.52))
    return Outline(_polar(np.arange(2 * spikes) * np.pi / spikes, radii))


def ring_outline(rng: np.random.Generator) -> Outline:
    """An annulus, seen from the front or at an angle (an ellipse)."""
    circle = disc_outline(rng).exterior * np.array([1.0, rng.uniform(0.65, 1.0)])
    return Outline(circle, (circle * rng.uniform(0.42, 0.66),))


def leaf_outline(rng: np.random.Generator) -> Outline:
    """A leaf along x: pointed at both ends, broadest before the middle, its margin smooth or toothed, its axis bent."""
    samples = 24
    along = np.linspace(0, 1, samples)
    half_width = rng.uniform(0.32, 0.52) * np.sin(np.pi * along ** rng.uniform(0.7, 1.1)) ** rng.uniform(0.7, 1.1)
    if rng.random() < 0.5:
        half_width = half_width * (1 + 0.18 * np.where(np.arange(samples) % 2 == 0, 1, -1))
    axis = rng.uniform(-0.2, 0.2) * np.sin(np.pi * along)
    upper = np.stack([2 * along - 1, axis + half_width], axis=1)
    lower = np.stack([2 * along - 1, axis - half_width], axis=1)
    return Outline(np.concatenate([upper[:-1], lower[:0:-1]]))


def moon_outline(rng: np.random.Generator) -> Outline:
    """A crescent: a disc less another disc that overlaps it from one side."""
    offset, radius = rng.uniform(0.45, 0.7), rng.uniform(0.75, 0.9)
    x = (1 - radius**2 + offset**2) / (2 * offset)  # of the two points where the circles meet
    outer_end, inner_end = np.arccos(x), np.arccos((x - offset) / radius)
    outer_angles = np.linspace(outer_end, 2 * np.pi - outer_end, 40)
    inner_angles = np.linspace(2 * np.pi - inner_end, inner_end, 40)[1:-1]
    inner = _polar(inner_angles, np.full(len(inner_angles), radius)) + np.array([offset, 0.0])
    return Outline(np.concatenate([_polar(outer_angles, np.ones(len(outer_angles))), inner]))


def cross_outline(rng: np.random.Generator) -> Outline:
    """Two bars of equal length at a right angle."""
    half = rng.uniform(0.18, 0.36)
    tip = np.sqrt(1 - half**2)
    arm = np.array([[half, -half], [tip, -half], [tip, half]])
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    arms = [arm @ np.linalg.matrix_power(quarter, turns).T for turns in range(4)]
    return Outline(np.concatenate(arms))


def coin_outline(rng: np.random.Generator, irregularity: float) -> Outline:
    """A struck coin: a circle with long waves, small nicks and, now and then, a straight chip.

    ``irregularity`` is about the standard deviation of the radius, as a share of it: 0 for a modern coin, 0.04 for an
    ancient one.
    """
    points = 60
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radii = np.ones(points)
    for wave in range(2, 7):
        radii += irregularity * rng.normal() / wave**0.7 * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    radii += irregularity * 0.18 * rng.standard_normal(points)
    for _ in range(int(rng.poisson(20 * irregularity))):
        distance, toward = rng.uniform(0.86, 0.97), rng.uniform(0, 2 * np.pi)
        cosine = np.cos(angles - toward)
        radii = np.where(cosine > 0.3, np.minimum(radii, distance / np.maximum(cosine, 0.3)), radii)
    return Outline(_polar(angles, radii / radii.max()))
