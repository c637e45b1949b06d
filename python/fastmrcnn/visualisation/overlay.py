"""Instances drawn over their image: translucent masks with contours, boxes, keypoints, and labels with scores.

Arrays and Pillow only. The work follows the size of the boxes, not the number of instances times the size of
the image: every mask is handled within its own crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from fastmrcnn.visualisation.colours import Colour, colour_of
from fastmrcnn.visualisation.keypoints import draw_keypoints, limbs_of
from fastmrcnn.visualisation.labels import Label, draw_labels
from fastmrcnn.visualisation.picture import as_picture

# A bitmap of the whole image, bool [H, W]; or a crop of it, bool [h, w], with the crop's corner (x, y) in the
# image.
Mask: TypeAlias = "np.ndarray | tuple[np.ndarray, tuple[int, int]]"


def draw_instances(
    image: np.ndarray | Image.Image,
    boxes: Any,
    *,
    masks: Sequence[Mask] | np.ndarray | None = None,
    keypoints: Any = None,
    keypoint_names: Sequence[str] = (),
    labels: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    scores: Sequence[float] | None = None,
    colour_by: str = "class",
    opacity: float = 0.45,
    zoom: int = 1,
) -> Image.Image:
    """Draw instances over a copy of ``image``.

    Args:
        image: [H, W] or [H, W, C], uint8 or float in 0..1, shown as :func:`as_picture` says; or a Pillow image.
        boxes: [N, 4] x1, y1, x2, y2 in pixels. A box that is not finite, or lies off the image, is not
            drawn.
        masks: N bitmaps: bool [N, H, W], or a sequence of bool [H, W] or of (bool [h, w], (x, y)), a crop and
            its corner.
        keypoints: [N, K, 2] x, y in pixels; what is not finite is not drawn.
        keypoint_names: K names; those of a body's joints (COCO's) are joined by lines.
        labels: N class indices: they choose the colour.
        names: N texts, usually class names; empty texts give no label.
        scores: N numbers, written behind the names with two digits.
        colour_by: "class" (instances of a class share a colour) or "instance".
        opacity: of the masks, 0..1.
        zoom: enlarges the image by this whole factor first, so that lines and text over a small image stay
            fine.

    Returns:
        An RGB image of the size of ``image`` times ``zoom``. Lines and text grow with its size, and are finer
        where objects are small or many.

    Raises:
        ValueError: the numbers of boxes, masks, keypoints, labels, names and scores differ, or an option is out of
            its range.

    >>> image = np.zeros((48, 64, 3), np.uint8)
    >>> draw_instances(image, [[8, 8, 40, 30]], names=["coin"], scores=[0.98]).size
    (64, 48)
    """
    canvas = _canvas(image, zoom)
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * zoom  # [N, 4]
    drawn = _on_image(corners, canvas.size)  # [N]
    corners[~drawn] = 0.0
    per_instance = {"masks": masks, "keypoints": keypoints, "labels": labels, "names": names, "scores": scores}
    _check(len(corners), colour_by, opacity, **per_instance)
    colours = _colours(len(corners), labels, colour_by)
    width = line_width(canvas.size, _sides(corners[drawn]))

    if masks is not None:
        _draw_masks(canvas, [_crop(mask, zoom) for mask in masks], colours, opacity, width)
    draw = ImageDraw.Draw(canvas)
    for index in _largest_first(_areas(corners)):
        if drawn[index]:
            draw.rectangle(_inside(corners[index], canvas.size), outline=colours[index], width=width)
    if keypoints is not None:
        for points, colour in zip(np.asarray(keypoints, dtype=np.float64) * zoom, colours, strict=True):
            draw_keypoints(draw, points, limbs_of(keypoint_names), colour, width)
    wanted = [
        Label(text, _inside(corners[index], canvas.size), colours[index])
        for index, text in enumerate(_texts(len(corners), names, scores))
        if text and drawn[index]
    ]
    draw_labels(canvas, wanted)
    return canvas


def line_width(size: tuple[int, int], sides: np.ndarray | None = None) -> int:
    """The width of lines, in pixels, on an image of this (width, height), round objects of these ``sides``, px.

    Small objects have thin lines, under which they can be seen.
    """
    widest = max(1, round(max(size) / 400))
    return widest if sides is None or len(sides) == 0 else max(1, min(widest, round(float(np.median(sides)) / 16)))


@dataclass(frozen=True)
class _Crop:
    bitmap: np.ndarray  # bool [h, w]
    x: int  # of its first column, in the image
    y: int


def _canvas(image: np.ndarray | Image.Image, zoom: int) -> Image.Image:
    if zoom < 1:
        raise ValueError(f"draw_instances: zoom must be at least 1; got {zoom}")
    if isinstance(image, np.ndarray):
        try:
            image = Image.fromarray(as_picture(image))
        except ValueError as error:
            raise ValueError(f"draw_instances: {error}") from None
    canvas = image.convert("RGB")  # a copy, unless the image is RGB already
    if zoom > 1:
        return canvas.resize((canvas.width * zoom, canvas.height * zoom), Image.Resampling.BICUBIC)
    return canvas.copy() if canvas is image else canvas


def _check(count: int, colour_by: str, opacity: float, **per_instance: Any) -> None:
    for name, values in per_instance.items():
        if values is not None and len(values) != count:
            raise ValueError(f"draw_instances: {name} must have {count} entries, as boxes; got {len(values)}")
    if colour_by not in ("class", "instance"):
        raise ValueError(f"draw_instances: colour_by must be 'class' or 'instance'; got {colour_by!r}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"draw_instances: opacity must be within 0..1; got {opacity}")


def _colours(count: int, labels: Sequence[int] | None, colour_by: str) -> list[Colour]:
    if labels is None or colour_by == "instance":
        return [colour_of(index) for index in range(count)]
    return [colour_of(int(label)) for label in labels]


def _texts(count: int, names: Sequence[str] | None, scores: Sequence[float] | None) -> list[str]:
    parts = [list(names) if names is not None else [""] * count]
    if scores is not None:
        parts.append([f"{float(score):.2f}" for score in scores])
    return [_printable(" ".join(part for part in words if part)) for words in zip(*parts, strict=True)]


def _printable(text: str) -> str:
    """One line of text: Pillow fails on a line break or a lone surrogate in a label."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _crop(mask: Mask, zoom: int) -> _Crop:
    """The part of a mask that holds its pixels, enlarged by ``zoom``."""
    bitmap, (x, y) = mask if isinstance(mask, tuple) else (mask, (0, 0))
    bitmap = np.asarray(bitmap, dtype=bool)
    rows, columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
    if len(rows) == 0:
        return _Crop(np.zeros((0, 0), dtype=bool), 0, 0)
    top, left = int(rows[0]), int(columns[0])
    bitmap = bitmap[top : rows[-1] + 1, left : columns[-1] + 1]
    if zoom > 1:
        # Interpolate, so that the outline of a small mask comes out smooth; a frame of zeros keeps its edges
        # in place.
        framed = Image.fromarray(np.pad(bitmap, 1).astype(np.uint8) * 255)
        enlarged = framed.resize((framed.width * zoom, framed.height * zoom), Image.Resampling.BILINEAR)
        bitmap = np.asarray(enlarged)[zoom:-zoom, zoom:-zoom] >= 128
    return _Crop(bitmap, (x + left) * zoom, (y + top) * zoom)


def _draw_masks(
    canvas: Image.Image, crops: Sequence[_Crop], colours: Sequence[Colour], opacity: float, width: int
) -> None:
    """Blend the masks, each with its contour, over the canvas: large ones first, so that small ones stay on top."""
    for index in _largest_first(np.array([crop.bitmap.size for crop in crops])):
        crop = crops[index]
        if crop.bitmap.size:
            alpha = np.where(_eroded(crop.bitmap, width), round(255 * opacity), 255) * crop.bitmap
            canvas.paste(colours[index], (crop.x, crop.y), Image.fromarray(alpha.astype(np.uint8)))


def _eroded(bitmap: np.ndarray, steps: int) -> np.ndarray:
    """The pixels more than ``steps`` (city-block) from the outside; beyond the crop is outside."""
    inner = np.pad(bitmap, 1)
    for _ in range(steps):
        core = inner[1:-1, 1:-1]
        shrunk = core & inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        inner[1:-1, 1:-1] = shrunk
    return inner[1:-1, 1:-1]


def _largest_first(sizes: np.ndarray) -> list[int]:
    order: list[int] = np.argsort(-sizes, kind="stable").tolist()
    return order


def _on_image(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which boxes [N, 4] are finite and meet an image of this (width, height): bool [N]."""
    first, last = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
    return np.asarray(np.isfinite(corners).all(axis=1) & (last >= 0).all(axis=1) & (first <= size).all(axis=1))


def _areas(corners: np.ndarray) -> np.ndarray:
    areas: np.ndarray = np.prod(np.abs(corners[:, 2:] - corners[:, :2]), axis=1)
    return areas


def _sides(corners: np.ndarray) -> np.ndarray:
    """Of boxes [N, 4] the sides of squares as large."""
    sides: np.ndarray = np.sqrt(_areas(corners))
    return sides


def _inside(corner: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels that a box covers, ordered and clipped to the image: first and last column and row."""
    x1, x2 = sorted((float(corner[0]), float(corner[2])))
    y1, y2 = sorted((float(corner[1]), float(corner[3])))
    left, right = (round(min(max(x, 0.0), size[0] - 1.0)) for x in (x1, x2 - 1))
    top, bottom = (round(min(max(y, 0.0), size[1] - 1.0)) for y in (y1, y2 - 1))
    return left, top, max(left, right), max(top, bottom)
