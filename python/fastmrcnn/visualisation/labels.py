"""Text over images: labels that stay readable, inside the image, and off each other where there is room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from PIL import Image, ImageDraw

from fastmrcnn.visualisation.colours import Colour, readable_on
from fastmrcnn.visualisation.fonts import Font, font_for

Box: TypeAlias = tuple[int, int, int, int]  # first and last column and row: left, top, right, bottom

_SMALLEST = 9  # px: the height of text that can be read
_HIDDEN = 0.2  # of the picture, that labels may hide


@dataclass(frozen=True)
class Label:
    """A text that names a box, on a background of the box's colour."""

    text: str
    box: Box
    colour: Colour


class _Taken:
    """Where labels are, by the squares of a grid that they touch: thousands are not all compared."""

    _SIDE = 128  # px

    def __init__(self) -> None:
        self._squares: dict[tuple[int, int], list[Box]] = {}

    def add(self, place: Box) -> None:
        for square in self._touched(place):
            self._squares.setdefault(square, []).append(place)

    def meets(self, place: Box) -> bool:
        return any(_overlap(place, other) for square in self._touched(place) for other in self._squares.get(square, ()))

    def _touched(self, place: Box) -> Iterator[tuple[int, int]]:
        left, top, right, bottom = (edge // self._SIDE for edge in place)
        return ((x, y) for x in range(left, right + 1) for y in range(top, bottom + 1))


def font_size(size: tuple[int, int]) -> int:
    """The height of text, in pixels, on an image of this (width, height)."""
    return min(max(_SMALLEST, round(max(size) / 45)), 40)


def draw_labels(canvas: Image.Image, labels: Sequence[Label]) -> None:
    """Write the labels onto ``canvas``, the first ones (the surest) with the first choice of place and on
    top.

    A label goes above its box, else into its top, else below it; where all of these are taken it overlaps
    another. Where many labels would hide the picture the text is smaller; where that is not enough, those are
    left out that have no place of their own, or come when a fifth of the picture is hidden.
    """
    height, crowded = _fitting(labels, canvas.size)
    draw = ImageDraw.Draw(canvas)
    taken, placed, room = _Taken(), [], _HIDDEN * canvas.width * canvas.height
    for label in labels:
        font = font_for(label.text, height)
        extent = _extent(label.text, font)
        place, free = _place(label.box, extent, canvas.size, taken)
        if not crowded or (free and room > 0):
            room -= extent[0] * extent[1]
            taken.add(place)
            placed.append((label, font, place))
    for label, font, place in reversed(placed):
        left, top, right, bottom = place
        draw.rectangle(place, fill=label.colour)
        middle = ((left + right + 1) / 2, (top + bottom + 1) / 2)
        draw.text(middle, label.text, fill=readable_on(label.colour), font=font, anchor="mm")


def _fitting(labels: Sequence[Label], size: tuple[int, int]) -> tuple[int, bool]:
    """The height of text with which labels leave the picture to be seen, and whether they do not for all that."""
    usual = font_size(size)
    extents = (_extent(label.text, font_for(label.text, usual)) for label in labels)
    excess = sum(width * height for width, height in extents) / (_HIDDEN * size[0] * size[1])
    height = min(usual, max(_SMALLEST, int(usual / max(excess, 1) ** 0.5)))
    return height, excess * (height / usual) ** 2 > 1


@lru_cache(maxsize=4096)  # a class has a hundred texts, its scores
def _extent(text: str, font: Font) -> tuple[int, int]:
    """The (width, height) of a label: of the text's width, of the font's height, with a little air."""
    left, _, right, _ = font.getbbox(text)
    _, top, _, bottom = font.getbbox("Ágy")
    air = max(2, round((bottom - top) / 6))
    return int(right - left) + 2 * air, int(bottom - top) + air


def _place(box: Box, extent: tuple[int, int], size: tuple[int, int], taken: _Taken) -> tuple[Box, bool]:
    """Where a label goes, and whether no other is there."""
    left, top, right, bottom = box
    width, height = extent
    corners = [
        (left, top - height),  # above
        (left, top),  # inside
        (left, bottom + 1),  # below
        (right + 1 - width, top - height),
        (right + 1 - width, bottom + 1 - height),
    ]
    places = [_shifted_inside(x, y, extent, size) for x, y in corners if 0 <= y <= size[1] - height]
    places = places or [_shifted_inside(left, top, extent, size)]
    free = next((place for place in places if not taken.meets(place)), None)
    return free or places[0], free is not None


def _shifted_inside(x: int, y: int, extent: tuple[int, int], size: tuple[int, int]) -> Box:
    left = max(0, min(x, size[0] - extent[0]))
    top = max(0, min(y, size[1] - extent[1]))
    return left, top, left + extent[0] - 1, top + extent[1] - 1


def _overlap(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
