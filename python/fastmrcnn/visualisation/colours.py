"""The colours of instances and curves."""

from __future__ import annotations

from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]  # sRGB, 0..255

# The first seven are Okabe and Ito's (2008), made to be told apart with any kind of colour vision, the black
# left out. The others were chosen greedily, each the farthest in OKLab from those before it as normal,
# protan, deutan and tritan vision see them, none too dark or too pale to show on a photograph.
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),  # blue
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (213, 94, 0),  # vermilion
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (135, 30, 90),  # plum
    (0, 230, 204),  # turquoise
    (75, 0, 210),  # indigo
    (165, 75, 255),  # violet
    (75, 90, 0),  # olive
)


def colour_of(index: int) -> Colour:
    """The palette's colour for a class or an instance; beyond the palette the colours come round again."""
    return PALETTE[index % len(PALETTE)]


def contrast(one: Colour, other: Colour) -> float:
    """WCAG 2.1's contrast ratio of two sRGB colours: 1 for equal ones, 21 for black and white."""
    darker, lighter = sorted((relative_luminance(one), relative_luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def readable_on(background: Colour) -> Colour:
    """Black or white, whichever has the larger contrast to ``background``."""
    return max(((0, 0, 0), (255, 255, 255)), key=lambda ink: contrast(ink, background))


def relative_luminance(colour: Colour) -> float:
    """WCAG 2.1's relative luminance of an sRGB colour, 0..1."""
    red, green, blue = (_linear(channel / 255) for channel in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


# Those of the palette that make thin lines easy to see on a white page and on a dark one.
LINE_COLOURS = tuple(
    colour for colour in PALETTE if contrast(colour, (255, 255, 255)) >= 2 and contrast(colour, (24, 26, 31)) >= 1.9
)
