"""Images read window by window, so that one of any size need not be whole in memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from types import TracebackType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fastmrcnn.structures import arrays, pillow_images, tiff_files, tiff_windows
from fastmrcnn.structures.bands import fit_channels
from fastmrcnn.structures.image_files import of_any_size
from fastmrcnn.structures.images import ImageSource, as_image_tensor
from fastmrcnn.structures.pages import ImagePage
from fastmrcnn.structures.pixel_format import RGB, PixelFormat

_BAND = 256  # rows of an image that are read at once to reduce it


class ImageWindows(ABC):
    """An image whose rectangles are read when they are asked for; a context manager, which closes its file.

    ``size`` is (height, width) in pixels.
    """

    size: tuple[int, int]

    @abstractmethod
    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        """[C, height, width] as :func:`~fastmrcnn.structures.as_image_tensor` gives it; a rectangle of the image.

        Not for several threads at once.
        """

    def reduced(self, longest: int) -> tuple[Tensor, int]:
        """The whole image, each of its pixels the mean of k x k ones, and k: the least one that leaves its longer side
        with no more than ``longest`` pixels.

        [C, ceil(H / k), ceil(W / k)]; it is read in bands.
        """
        height, width = self.size
        factor = -(-max(height, width) // longest)
        if factor == 1:
            return self.read(0, 0, height, width), 1
        rows = factor * max(_BAND // factor, 1)
        bands: list[Tensor] = []
        for top in range(0, height, rows):
            band = self.read(top, 0, min(rows, height - top), width)
            means = torch.nn.functional.avg_pool2d(band.float()[None], factor, ceil_mode=True)[0]
            bands.append(means if band.is_floating_point() else means.round().to(band.dtype))
        return torch.cat(bands, dim=1), factor

    def close(self) -> None:  # noqa: B027  # for images that hold nothing open
        """Nothing is read any more."""

    def __enter__(self) -> ImageWindows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_windows(source: ImageSource, pixel_format: PixelFormat = RGB) -> ImageWindows:
    """An image of any accepted kind, to be read in windows; the errors of ``as_image_tensor``.

    Memory is taken for what a window needs of an array in a ``.npy`` file, and of a TIFF (with the package tifffile)
    that is uncompressed, or stored in tiles or strips: these are decoded as they are needed, and those of a row of
    windows are kept. Any other file is decoded whole, into Pillow's memory (4 bytes a pixel of colour) or, of 16 bits,
    into a tensor. What lies in memory already is not copied.

    >>> with open_windows(np.zeros((30, 40, 3), np.uint8)) as windows:
    ...     windows.size, windows.read(10, 0, 5, 8).shape
    ((30, 40), torch.Size([3, 5, 8]))
    """
    if isinstance(source, ImagePage):
        page = tiff_windows.open_page(source.path, source.frame)
        if page is not None:
            return _Tiff(page, str(source), pixel_format)
    elif isinstance(source, str | os.PathLike):
        if arrays.is_array_file(source):
            return _ArrayFile(source, pixel_format)
        page = tiff_windows.open_page(source)
        if page is not None:
            return _Tiff(page, str(source), pixel_format)
        image = pillow_images.load_cuttable(source)
        if image is not None:
            return _Pillow(image, str(source), pixel_format)
    elif isinstance(source, np.ndarray):
        return _Array(source, "image", pixel_format)
    elif isinstance(source, Image.Image) and pillow_images.is_cuttable(source):
        return _Pillow(source, str(getattr(source, "filename", "") or "image"), pixel_format)
    return _Whole(as_image_tensor(source, pixel_format))


class _Whole(ImageWindows):
    """A tensor [C, H, W] that is in its last form already."""

    def __init__(self, pixels: Tensor) -> None:
        self._pixels = pixels
        self.size = (pixels.shape[1], pixels.shape[2])

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        return self._pixels[:, top : top + height, left : left + width]


class _Array(ImageWindows):
    """An array [H, W] or [H, W, K]."""

    def __init__(self, array: np.ndarray, name: str, pixel_format: PixelFormat) -> None:
        self._array, self._name, self._format = array, name, pixel_format
        height, width, _ = arrays.checked_array(array, name, pixel_format).shape
        self.size = (height, width)

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        part = self._array[top : top + height, left : left + width]
        return fit_channels(arrays.bands_of_array(part, self._name, self._format), self._format, self._name)


class _ArrayFile(ImageWindows):
    """A ``.npy`` file. It is mapped anew for each window, lest the pages of earlier ones count as memory in use."""

    def __init__(self, path: str | os.PathLike[str], pixel_format: PixelFormat) -> None:
        self._path, self._format = path, pixel_format
        self.size = self._mapped().size

    def _mapped(self) -> _Array:
        return _Array(arrays.load_array(self._path, head_only=True), str(self._path), self._format)

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        return self._mapped().read(top, left, height, width)


class _Tiff(ImageWindows):
    """A page of a TIFF file."""

    def __init__(self, page: tiff_windows.Page, name: str, pixel_format: PixelFormat) -> None:
        self._page, self._name, self._format = page, name, pixel_format
        self.size = page.size

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        pixels = self._page.read(top, left, height, width)
        bands = tiff_files.bands_of_page(pixels, self._page.page, self._format, self._name)
        return fit_channels(bands, self._format, self._name)

    def close(self) -> None:
        self._page.close()


class _Pillow(ImageWindows):
    """A Pillow image, decoded."""

    def __init__(self, image: Image.Image, name: str, pixel_format: PixelFormat) -> None:
        self._image, self._name, self._format = image, name, pixel_format
        self.size = (image.height, image.width)

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        with of_any_size():
            part = self._image.crop((left, top, left + width, top + height))
        bands = pillow_images.bands_of_pillow(part, self._name, self._format)
        return fit_channels(bands, self._format, self._name)
