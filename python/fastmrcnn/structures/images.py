"""Every way of handing over an image, turned into one: a tensor [C, H, W], uint8 or float in 0..1.

``read_image`` reads a file; ``as_image_tensor`` takes files, Pillow images, numpy arrays and tensors alike.
Without further words the channels are RGB; a :class:`PixelFormat` asks for others. Whatever cannot be such an image
is refused with one line that names the source, what was expected and what was found.
"""

from __future__ import annotations

import os
from typing import TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.structures import arrays, pillow_images, tiff_files
from fastmrcnn.structures.bands import Bands, fit_channels
from fastmrcnn.structures.image_files import HEIC_SUFFIXES
from fastmrcnn.structures.pages import ImagePage
from fastmrcnn.structures.pixel_format import RGB, PixelFormat

ImageSource: TypeAlias = "str | os.PathLike[str] | ImagePage | Image.Image | np.ndarray | Tensor"

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", *HEIC_SUFFIXES, ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".npy", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
"""By which a folder's images are told from its other files."""


_EXPECTED = "a path, a Pillow image, a numpy array or a tensor"


def read_image(path: str | os.PathLike[str], pixel_format: PixelFormat = RGB) -> Tensor:
    """Read an image file as a tensor [C, H, W]: any format that Pillow reads, a TIFF with any number of bands, or an
    array [H, W] or [H, W, C] in a ``.npy`` file.

    It is uint8; of a file of 16 bits or floating-point numbers it is float32 in 0..1, which loses nothing of its
    depth. The EXIF orientation is applied, and of an animation the first frame is taken.

    Args:
        pixel_format: how many channels, by which rules, and the white level of 16 bits. By default RGB: grayscale,
            palette and CMYK images become RGB, and transparent pixels show white.

    Raises ``UserError`` naming the file when it is missing, is no image, is damaged, or has other channels.

    >>> Image.new("RGB", (640, 480)).save("photograph.jpg")
    >>> read_image("photograph.jpg").shape
    torch.Size([3, 480, 640])
    >>> np.save("field.npy", np.zeros((480, 640, 5), np.uint16))
    >>> read_image("field.npy", PixelFormat(channels=5)).shape
    torch.Size([5, 480, 640])
    """
    return fit_channels(_bands_of_file(path, pixel_format), pixel_format, str(path))


def image_size(source: ImageSource, pixel_format: PixelFormat = RGB) -> tuple[int, int]:
    """(height, width) of what :func:`as_image_tensor` would give; of files, from their heads.

    Raises ``UserError`` for a file that is missing or no image; what else is no image has some size or raises too.
    """
    if isinstance(source, ImagePage):
        if tiff_files.needs_tifffile(source.path, pixel_format):
            return tiff_files.tiff_size(source.path, source.frame)
        return pillow_images.file_size(source.path, source.frame)
    if isinstance(source, Image.Image):
        return pillow_images.upright_size(source)
    if isinstance(source, np.ndarray) and source.ndim >= 2:
        return source.shape[0], source.shape[1]
    if isinstance(source, Tensor) and source.ndim >= 2:
        return source.shape[-2], source.shape[-1]
    if isinstance(source, str | os.PathLike):
        return read_image_size(source)
    raise UserError(f"image: expected {_EXPECTED}; got {type(source).__name__}")


def read_image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of what :func:`read_image` would give, from the head of the file; the same errors."""
    if arrays.is_array_file(path):
        return arrays.array_size(path)
    return tiff_files.tiff_size(path) if tiff_files.needs_tifffile(path, RGB) else pillow_images.file_size(path)


def as_image_tensor(source: ImageSource, pixel_format: PixelFormat = RGB, *, name: str | None = None) -> Tensor:
    """Turn any accepted image into a tensor [C, H, W]: uint8, or float32 in 0..1 for 16-bit and floating-point input.

    ``source`` is one of

    * a path (see :func:`read_image`), a page of a file (:func:`~fastmrcnn.structures.image_pages`) or a Pillow image of
      any mode, brought upright as a file would be;
    * a numpy array, channels last: uint8 or uint16 [H, W], [H, W, 1], [H, W, 3] (RGB), [H, W, 4] (RGBA) or the number
      of channels that ``pixel_format`` asks for; or float in 0..1;
    * a tensor, channels first: uint8 or uint16 [C, H, W], or [1, H, W] for RGB, or float in 0..1. It stays on its
      device.

    The result may share memory with an array or tensor given. ``name`` stands for the image in error
    messages.

    Raises ``UserError`` for anything else, and for NaN or values outside 0..1 in floating-point input.

    >>> as_image_tensor(np.zeros((480, 640, 3), np.uint8)).shape
    torch.Size([3, 480, 640])
    >>> as_image_tensor(np.zeros((480, 640, 5), np.uint16), PixelFormat(channels=5, white_level=4095)).dtype
    torch.float32
    >>> as_image_tensor(torch.zeros(8, 3, 8))
    Traceback (most recent call last):
        ...
    fastmrcnn.errors.UserError: image: expected a tensor [3, H, W] or [1, H, W]; got [8, 3, 8]
    """
    if isinstance(source, str | os.PathLike):
        return read_image(source, pixel_format)
    if isinstance(source, ImagePage):
        return fit_channels(_bands_of_page(source, pixel_format), pixel_format, str(source))
    shown = name or "image"
    if isinstance(source, Image.Image):
        shown = name or str(getattr(source, "filename", "") or "image")
        bands = pillow_images.bands_of_pillow(source, shown, pixel_format)
    elif isinstance(source, np.ndarray):
        bands = arrays.bands_of_array(source, shown, pixel_format)
    elif isinstance(source, Tensor):
        bands = arrays.bands_of_tensor(source, shown, pixel_format)
    else:
        raise UserError(f"{shown}: expected {_EXPECTED}; got {type(source).__name__}")
    return fit_channels(bands, pixel_format, shown)


def _bands_of_file(path: str | os.PathLike[str], wanted: PixelFormat) -> Bands:
    if arrays.is_array_file(path):
        return arrays.bands_of_array(arrays.load_array(path), str(path), wanted)
    if tiff_files.needs_tifffile(path, wanted):
        return tiff_files.bands_of_tiff(path, wanted)
    return pillow_images.bands_of_file(path, wanted)


def _bands_of_page(page: ImagePage, wanted: PixelFormat) -> Bands:
    if tiff_files.needs_tifffile(page.path, wanted):
        return tiff_files.bands_of_tiff(page.path, wanted, page.frame)
    return pillow_images.bands_of_file(page.path, wanted, page.frame)
