"""TIFF files with more bands or more depth than Pillow reads: multispectral images, colour of 16 bits."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from fastmrcnn.errors import UserError
from fastmrcnn.structures.bands import Bands, as_fractions
from fastmrcnn.structures.image_files import name_of_page, readable
from fastmrcnn.structures.pillow_images import turn_upright
from fastmrcnn.structures.pixel_format import PixelFormat

SUFFIXES = (".tif", ".tiff")
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian; the latter two with 64-bit offsets
_BITS, _SAMPLES, ORIENTATION = 258, 277, 274  # tags
_ALPHA = (1, 2)  # of the kinds of extra samples
_WHITE_IS_ZERO = 0  # of the meanings of grey
NO_PICTURE = 0b101  # of the kinds of pages (tag 254): reduced copies and masks


def needs_tifffile(path: str | os.PathLike[str], wanted: PixelFormat) -> bool:
    """Whether Pillow would refuse a file or cut off some of what is wanted of it."""
    if Path(path).suffix.lower() not in SUFFIXES:
        return False
    with readable(path):
        try:
            with Image.open(path) as image:
                if image.format != "TIFF":
                    return False
                tags = image.tag_v2  # type: ignore[attr-defined]  # of a TIFF
                samples, bits = int(tags.get(_SAMPLES, 1)), max(tags.get(_BITS, (1,)))
        except UnidentifiedImageError:
            with open(path, "rb") as stream:
                return stream.read(4) in _MAGIC
    return wanted.channels not in (None, 1, 3) or (samples > 1 and bits > 8)


def tiff_frames(path: str | os.PathLike[str], wanted: PixelFormat) -> list[int]:
    """The pages of a TIFF file that are pictures; the first one alone where each holds less than the wanted bands."""
    tifffile = _tifffile(path)
    with readable(path), tifffile.TiffFile(path) as file:
        bands = wanted.channels
        if bands not in (None, 1, 3) and file.pages[0].samplesperpixel - bands not in (0, 1):  # one may be alpha
            return [0]
        return [frame for frame, page in enumerate(file.pages) if frame == 0 or not page.subfiletype & NO_PICTURE]


def bands_of_tiff(path: str | os.PathLike[str], wanted: PixelFormat, frame: int | None = None) -> Bands:
    """The bands of a TIFF file, which lie side by side, in planes or on pages; or those on the page ``frame``.

    Raises:
        UserError: the package tifffile is missing; the file does not decode, or is more than one image.
    """
    tifffile = _tifffile(path)
    name = str(path) if frame is None else name_of_page(path, frame)
    with readable(path, frame), tifffile.TiffFile(path) as file:
        series = file.series[0] if frame is None else file.pages[frame]
        axes, shape = _without_singles(series.axes, series.shape)
        places = [place for place, axis in enumerate(axes) if axis not in "YX"]
        if len(places) > 1 or "Y" not in axes or "X" not in axes:
            found = f"axes {axes} of {' x '.join(map(str, shape))}"
            raise UserError(f"{name}: expected one image whose bands are one axis; found {found}")
        pixels = series.asarray().reshape(shape)
        pixels = pixels[..., None] if not places else np.moveaxis(pixels, places[0], -1)  # [H, W, K]
        page = series.keyframe if frame is None else series
        turned = page.tags.get(ORIENTATION)
        return bands_of_page(pixels, page, wanted, name, 1 if turned is None else int(turned.value))


def bands_of_page(pixels: np.ndarray, page: Any, wanted: PixelFormat, name: str, orientation: int = 1) -> Bands:
    """The bands of pixels [H, W, K] that are those, or some of those, of tifffile's ``page``."""
    fractions = _as_bytes_or_fractions(pixels, wanted, name)
    if page.photometric == _WHITE_IS_ZERO and pixels.shape[2] == 1:
        fractions = (255 if fractions.dtype == np.uint8 else 1) - fractions
    upright = turn_upright(fractions, orientation)
    extra = tuple(int(kind) for kind in page.extrasamples)
    has_alpha = len(extra) == 1 and extra[0] in _ALPHA and pixels.shape[2] in (2, 4)
    return Bands(torch.from_numpy(np.array(upright.transpose(2, 0, 1), order="C")), has_alpha)


def tiff_size(path: str | os.PathLike[str], frame: int | None = None) -> tuple[int, int]:
    """(height, width) of the upright image in a TIFF file, or on its page ``frame``."""
    tifffile = _tifffile(path)
    with readable(path, frame), tifffile.TiffFile(path) as file:
        page = file.series[0].keyframe if frame is None else file.pages[frame]
        turned = page.tags.get(ORIENTATION)
        height, width = int(page.imagelength), int(page.imagewidth)
        return (width, height) if turned is not None and int(turned.value) >= 5 else (height, width)


def _tifffile(path: str | os.PathLike[str]) -> ModuleType:
    try:
        import tifffile
    except ImportError:
        found = "it is damaged, or a TIFF that the package tifffile reads (pip install tifffile imagecodecs)"
        raise UserError(f"{path}: expected an image file; {found}") from None
    module: ModuleType = tifffile
    return module


def _without_singles(axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """The axes and their lengths without those of length 1 that are not the picture's own."""
    kept = [(axis, size) for axis, size in zip(axes, shape, strict=True) if size != 1 or axis in "YX"]
    return "".join(axis for axis, _ in kept), tuple(size for _, size in kept)


def _as_bytes_or_fractions(pixels: np.ndarray, wanted: PixelFormat, name: str) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return as_fractions(pixels, wanted.white_level, name, "an image of 16 bits")
    if pixels.dtype.kind == "f":
        return as_fractions(pixels, 1.0, name, "an image of floating-point numbers")
    raise UserError(f"{name}: expected 8 or 16 bits, or floating-point numbers in 0..1; got {pixels.dtype}")
