"""Images whose pixels are the numbers of objects or classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastmrcnn.data.annotations import ImageRecord
from fastmrcnn.errors import UserError
from fastmrcnn.structures.image_files import open_image
from fastmrcnn.structures.pages import image_pages

Labels = NDArray[np.int64]
RunLengths = dict[str, Any]  # COCO's, uncompressed

_INDEXED = ("P", "L", "1", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes of one channel of whole numbers


@dataclass(frozen=True)
class Colours:
    """What the colours of a label image stand for."""

    number_of: dict[tuple[int, int, int], int]  # by red, green and blue
    source: str  # for messages


def read_labels(path: Path, image: ImageRecord, colours: Colours | None = None) -> Labels:
    """The pixels of a label image of the size of ``image``, ``[height, width]``: of a palette image its indices.

    ``colours`` say what those of an RGB image stand for; the default is the index that they have in the palette of
    Pascal VOC, for tools write those too.
    """
    with _open_mask(path) as picture:
        if picture.mode in ("RGB", "RGBA"):
            labels = _from_colours(path, np.asarray(picture.convert("RGB")), colours or _voc_colours())
        elif picture.mode in _INDEXED:
            labels = np.asarray(picture).astype(np.int64)
        else:
            raise UserError(f"{path}: expected an image of numbers or palette colours; got one of mode {picture.mode}")
    return _of_size(path, labels, image)


def read_bitmap(path: Path, image: ImageRecord) -> Labels:
    """1 where the mask of one object is neither black nor transparent, else 0, ``[height, width]``.

    Where index 0 of a palette is black it alone is background, whatever colours the others have.
    """
    with _open_mask(path) as picture:
        if picture.mode in _INDEXED and not (picture.mode == "P" and any(_colour_of_zero(picture))):
            filled = np.asarray(picture) != 0
        else:
            filled = _on_black(picture).any(axis=2)
    return _of_size(path, filled.astype(np.int64), image)


@contextmanager
def _open_mask(path: Path) -> Iterator[Image.Image]:
    with open_image(path) as picture:
        pages = len(image_pages(path))
        if pages > 1:  # the objects of all but the first would be lost without a word
            raise UserError(f"{path}: expected one image of masks; got a TIFF of {pages} pages")
        yield picture


def _colour_of_zero(picture: Image.Image) -> list[int]:
    return (picture.getpalette() or [])[:3]


def _on_black(picture: Image.Image) -> NDArray[np.uint8]:
    """RGB ``[height, width, 3]``; what is transparent is black."""
    if "transparency" not in picture.info and picture.mode not in ("LA", "PA", "La", "RGBA", "RGBa"):
        return np.asarray(picture.convert("RGB"))
    colours = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", colours.size, (0, 0, 0, 255)), colours).convert("RGB"))


def _of_size(path: Path, labels: Labels, image: ImageRecord) -> Labels:
    if labels.shape != (image.height, image.width):
        height, width = labels.shape
        raise UserError(
            f"{path}: expected {image.width} x {image.height} pixels (width x height), as {image.file_name} has; "
            f"got {width} x {height}"
        )
    return labels


def run_lengths_by_label(labels: Labels) -> dict[int, RunLengths]:
    """The mask of each number that occurs, by ascending number, in one pass over the pixels."""
    height, width = labels.shape
    flat = labels.ravel(order="F")
    begins = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(begins[1:], flat.size)
    values = flat[begins]
    order = np.argsort(values, kind="stable")
    found, firsts = np.unique(values[order], return_index=True)
    masks = {}
    for value, runs in zip(found.tolist(), np.split(order, firsts[1:]), strict=True):
        edges = np.stack([begins[runs], ends[runs]], axis=1).ravel()
        counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
        masks[value] = {"size": [height, width], "counts": counts.tolist()}
    return masks


def voc_palette() -> NDArray[np.int64]:
    """Pascal VOC's colour of each index, ``[256, 3]``: its bits go to red, green and blue in turn, highest first."""
    index, palette = np.arange(256), np.zeros((256, 3), dtype=np.int64)
    for place in range(8):
        for channel in range(3):
            palette[:, channel] |= (index >> (3 * place + channel) & 1) << (7 - place)
    return palette


@cache
def _voc_colours() -> Colours:
    red, green, blue = voc_palette().T.tolist()
    return Colours(dict(zip(zip(red, green, blue, strict=True), range(256), strict=True)), "Pascal VOC's palette")


def _from_colours(path: Path, pixels: NDArray[np.uint8], colours: Colours) -> Labels:
    weights = np.array([65536, 256, 1])
    codes, known = pixels.astype(np.int64) @ weights, np.array(list(colours.number_of)) @ weights
    order = np.argsort(known)
    place = order[np.searchsorted(known[order], codes).clip(max=len(known) - 1)]
    unknown = pixels[known[place] != codes]
    if len(unknown):
        raise UserError(f"{path}: expected numbers or colours of {colours.source}; got {tuple(unknown[0].tolist())}")
    labels: Labels = np.array(list(colours.number_of.values()))[place]
    return labels
