"""An image to which objects are added from back to front, with the visible part of each kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .outlines import Outline
from .sprites import Sprite
from .textures import Array, blur

MIN_VISIBLE_SHARE = 0.45
"""An object is annotated only while at least this share of its area shows; nothing is laid where it would hide more."""
MIN_SIDE = 8
"""Pixels: the smallest width and height of an annotated object's visible part."""


@dataclass(frozen=True)
class SceneObject:
    """One annotated object of a finished scene."""

    class_name: str
    mask: NDArray[np.bool_]  # [H, W], the visible part
    outline: Outline | None  # image pixels; None where the visible part differs from the whole outline
    is_crowd: bool = False


class Canvas:
    """A float image [H, W, 3] in 0..1 and the number of the object that each pixel shows."""

    def __init__(self, background: Array) -> None:
        self.image = background
        self._owner: NDArray[np.int16] = np.full(background.shape[:2], -1, np.int16)
        self._sprites: list[Sprite] = []
        self._full_area: list[int] = []
        self._hidden_or_cut: list[bool] = []
        self._crowd_owner: dict[int, int] = {}  # sprite number -> crowd number

    def try_place(self, sprite: Sprite, shadow: tuple[float, float, float, float], crowd: int | None = None) -> bool:
        """Lay a sprite on top, unless too little of it, or of an object below it, would stay visible.

        Args:
            sprite: the object.
            shadow: offset x, offset y, blur radius (pixels) and strength in 0..1.
            crowd: members of one crowd share this number, may overlap freely and become one annotation.

        Returns:
            Whether the sprite was laid down.
        """
        rows, columns, inner = self._clip(sprite)
        solid = sprite.coverage[inner] >= 0.5
        full_area = int((sprite.coverage >= 0.5).sum())
        if not solid.any() or (crowd is None and not _large_enough(solid, full_area)):
            return False
        owners = self._owner[rows, columns]
        covered = [int(n) for n in np.unique(owners[solid]) if n >= 0]
        if not all(
            self._survives(number, rows, columns, solid) for number in covered if number not in self._crowd_owner
        ):
            return False
        self._cast_shadow(sprite, *shadow)
        alpha = sprite.coverage[inner][..., None]
        patch = self.image[rows, columns]
        patch += (sprite.colour[inner] - patch) * alpha
        owners[solid] = len(self._sprites)
        for number in covered:
            self._hidden_or_cut[number] = True
        if crowd is not None:
            self._crowd_owner[len(self._sprites)] = crowd
        self._sprites.append(sprite)
        self._full_area.append(full_area)
        self._hidden_or_cut.append(solid.shape != sprite.coverage.shape)
        return True

    def objects(self) -> list[SceneObject]:
        """The scene's objects, in the order in which they were laid; crowds last."""
        found = []
        for number, sprite in enumerate(self._sprites):
            if number in self._crowd_owner:
                continue
            outline = None if self._hidden_or_cut[number] else sprite.outline
            found.append(SceneObject(sprite.class_name, self._owner == number, outline))
        for crowd in sorted(set(self._crowd_owner.values())):
            members = [number for number, owner in self._crowd_owner.items() if owner == crowd]
            mask = np.isin(self._owner, members)
            if mask.any():
                found.append(SceneObject(self._sprites[members[0]].class_name, mask, None, is_crowd=True))
        return found

    def _clip(self, sprite: Sprite) -> tuple[slice, slice, tuple[slice, slice]]:
        """Rows and columns of the canvas that a sprite touches, and the same region within the sprite."""
        height, width = self._owner.shape
        bottom, right = sprite.top + sprite.coverage.shape[0], sprite.left + sprite.coverage.shape[1]
        rows = slice(min(max(sprite.top, 0), height), min(max(bottom, 0), height))
        columns = slice(min(max(sprite.left, 0), width), min(max(right, 0), width))
        inner = (
            slice(rows.start - sprite.top, rows.stop - sprite.top),
            slice(columns.start - sprite.left, columns.stop - sprite.left),
        )
        return rows, columns, inner

    def _survives(self, number: int, rows: slice, columns: slice, solid: NDArray[np.bool_]) -> bool:
        """Whether object ``number`` stays large enough when ``solid`` hides part of it."""
        r, c, _ = self._clip(self._sprites[number])
        shown = self._owner[r, c] == number
        top, left = max(rows.start, r.start), max(columns.start, c.start)
        bottom, right = min(rows.stop, r.stop), min(columns.stop, c.stop)
        shown[top - r.start : bottom - r.start, left - c.start : right - c.start] &= ~solid[
            top - rows.start : bottom - rows.start, left - columns.start : right - columns.start
        ]
        return _large_enough(shown, self._full_area[number])

    def _cast_shadow(self, sprite: Sprite, dx: float, dy: float, radius: float, strength: float) -> None:
        """Darken the ground (and objects) beside the sprite, before the sprite itself is laid."""
        if strength <= 0:
            return
        pad = int(np.ceil(2 * radius + max(abs(dx), abs(dy))))
        shade = blur(np.pad(sprite.coverage, pad), radius)
        moved = Sprite("", sprite.outline, sprite.left - pad + round(dx), sprite.top - pad + round(dy), shade, shade)
        rows, columns, inner = self._clip(moved)
        self.image[rows, columns] *= 1 - np.float32(strength) * shade[inner][..., None]


def _large_enough(shown: NDArray[np.bool_], full_area: int) -> bool:
    """Whether a visible part is worth an annotation: share of the whole, and both sides."""
    if int(shown.sum()) < MIN_VISIBLE_SHARE * full_area:
        return False
    return bool(shown.any(axis=0).sum() >= MIN_SIDE and shown.any(axis=1).sum() >= MIN_SIDE)
