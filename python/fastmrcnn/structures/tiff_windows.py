"""TIFF files read in windows: of an image larger than memory, those tiles or strips are decoded that a window needs."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from fastmrcnn.structures.image_files import readable
from fastmrcnn.structures.tiff_files import NO_PICTURE, ORIENTATION, SUFFIXES

_KEPT = 2**27  # bytes of decoded tiles or strips; a row of windows of 1024 px takes 80 MB of 20,000 px of RGB
_PLAIN = (1, 2)  # photometric interpretations: grey from black to white, and RGB
_YCBCR, _JPEG = 6, 7  # the colours of JPEGs, which their decoder makes RGB
_OTHER_JPEG = (6, 33007)  # compressions that may hold other colours than the tags say


def open_page(path: str | os.PathLike[str], frame: int | None = None) -> Page | None:
    """A page of a TIFF file, by default its one picture; None of a file that has to be read otherwise.

    Such are files with several pictures when none is named, palettes, colours other than grey and RGB, or an
    orientation, what tifffile decodes with the help of imagecodecs alone where that is missing (LZW, JPEG, Zstandard),
    and all of them where tifffile is.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        return None
    try:
        import tifffile
    except ImportError:
        return None
    with readable(path, frame):
        try:
            file = tifffile.TiffFile(path)
        except tifffile.TiffFileError:
            return None  # some other format, by its content
        page: Any = file.pages[frame or 0]
        others: Any = file.pages[1:] if frame is None else []
        alone = all(other.subfiletype & NO_PICTURE for other in others)
        turned = page.tags.get(ORIENTATION)
        jpeg = page.photometric == _YCBCR and page.compression == _JPEG
        plain = (page.photometric in _PLAIN or jpeg) and page.compression not in _OTHER_JPEG and page.dtype is not None
        full = plain and page.bitspersample == 8 * page.dtype.itemsize and page.shaped[1] == 1
        if alone and full and (turned is None or turned.value == 1) and min(page.shaped) > 0:
            windows = Page(file, page, path, frame)
            if windows.decodes():
                return windows
        file.close()
        return None


class Page:
    """A page, whose ``size`` is (height, width); ``page`` is tifffile's."""

    def __init__(self, file: Any, page: Any, path: str | os.PathLike[str], frame: int | None) -> None:
        self._file, self.page, self._path, self._frame = file, page, path, frame
        self.size = (int(page.imagelength), int(page.imagewidth))
        self._decoded: OrderedDict[int, np.ndarray | None] = OrderedDict()
        self._bytes = 0  # of these

    def close(self) -> None:
        self._file.close()

    def decodes(self) -> bool:
        """Whether tifffile can undo the compression, to go by the first tile or strip that holds something."""
        first = next((number for number, count in enumerate(self.page.databytecounts) if count), None)
        if self.page.is_memmappable or first is None:
            return True
        try:
            self._segment(first)
        except MemoryError:
            raise
        except Exception:  # codecs fail in many ways; whoever reads the file otherwise says why
            return False
        return True

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Pixels [height, width, K]; UserError where they do not decode."""
        with readable(self._path, self._frame):
            if self.page.is_memmappable:
                return self._read_mapped(top, left, height, width)
            return self._read_segments(top, left, height, width)

    def _read_mapped(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Mapped anew for each window, lest the pages of earlier ones count as memory in use."""
        planes, _, rows, columns, bands = self.page.shaped
        dtype = self.page.dtype.newbyteorder(self._file.byteorder)
        pixels = np.memmap(
            self._path, dtype, "r", offset=self.page.dataoffsets[0], shape=(planes, rows, columns, bands)
        )
        part = pixels[:, top : top + height, left : left + width]
        return np.moveaxis(part, 0, -1).reshape(height, width, planes * bands).astype(self.page.dtype.newbyteorder("="))

    def _read_segments(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        page = self.page
        planes, bands = int(page.shaped[0]), int(page.shaped[4])
        tall, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        down, across = -(-self.size[0] // tall), -(-self.size[1] // wide)
        pixels = np.zeros((height, width, planes * bands), dtype=page.dtype.newbyteorder("="))
        rows_here = range(top // tall, -(-(top + height) // tall))
        columns_here = range(left // wide, -(-(left + width) // wide))
        for plane in range(planes):
            for row in rows_here:
                for column in columns_here:
                    segment = self._segment((plane * down + row) * across + column)
                    if segment is None:  # a file may leave out what is empty
                        continue
                    y, x = row * tall, column * wide
                    rows = slice(max(top, y), min(top + height, y + segment.shape[0]))
                    columns = slice(max(left, x), min(left + width, x + segment.shape[1]))
                    part = segment[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
                    target = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
                    target[..., plane * bands : (plane + 1) * bands] = part
        self._let_go(planes * len(rows_here) * len(columns_here))
        return pixels

    def _segment(self, number: int) -> np.ndarray | None:
        """A decoded tile or strip, [h, w, K]."""
        if number in self._decoded:
            self._decoded.move_to_end(number)
            return self._decoded[number]
        handle, page = self._file.filehandle, self.page
        data = None
        if page.databytecounts[number]:
            handle.seek(page.dataoffsets[number])
            data = handle.read(page.databytecounts[number])
        decoded, _, shape = page.decode(data, number, jpegtables=page.jpegtables)
        segment = None if decoded is None else np.asarray(decoded).reshape(-1, *shape[-3:])[0]
        self._decoded[number] = segment
        self._bytes += 0 if segment is None else segment.nbytes
        return segment

    def _let_go(self, needed: int) -> None:
        """Drop what was used longest ago, but for the ``needed`` last ones: the next window may need all of these."""
        while self._bytes > _KEPT and len(self._decoded) > needed:
            _, oldest = self._decoded.popitem(last=False)
            self._bytes -= 0 if oldest is None else oldest.nbytes
