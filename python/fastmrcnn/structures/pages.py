"""TIFF files of several pictures, one on each page."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from PIL import Image

from fastmrcnn.structures.image_files import name_of_page, of_any_size, open_image
from fastmrcnn.structures.pixel_format import RGB, PixelFormat
from fastmrcnn.structures.tiff_files import NO_PICTURE, SUFFIXES, needs_tifffile, tiff_frames

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255  # tags
_REDUCED = 2  # the value of the latter for what is no picture of its own


@dataclass(frozen=True, slots=True)
class ImagePage:
    """A page of a file: an image like any other.

    >>> str(ImagePage(Path("scan.tif"), 2))
    'scan.tif, page 3'
    """

    path: Path
    # Its place in the file, from 0. Pages that are no pictures count too: thumbnails, reduced copies, masks.
    frame: int

    def __str__(self) -> str:
        return name_of_page(self.path, self.frame)


def image_pages(path: str | os.PathLike[str], pixel_format: PixelFormat = RGB) -> list[ImagePage]:
    """The pictures in a file: every page of a TIFF, without the reduced copies and masks that some hold.

    Of any other file there is one, the first frame of an animation too. Where ``pixel_format`` asks for bands that a
    file has on pages of one band each, these pages are one picture. A page that cannot be read ends the list as its
    last one, so that whoever reads it is told.

    Raises ``UserError`` where the file is missing or no image.

    >>> pages = [Image.new("L", (30, 20 + number)) for number in range(2)]
    >>> pages[0].save("scan.tif", save_all=True, append_images=pages[1:])
    >>> [str(page) for page in image_pages("scan.tif")]  # each may be given to model.predict
    ['scan.tif, page 1', 'scan.tif, page 2']
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        return [ImagePage(file, 0)]
    frames = tiff_frames(file, pixel_format) if needs_tifffile(file, pixel_format) else _frames(file)
    return [ImagePage(file, frame) for frame in frames]


def _frames(path: Path) -> list[int]:
    with open_image(path) as image:
        if image.format != "TIFF":
            return [0]
        frames = [0]  # what opened is a picture, whatever it says
        for frame in count(1):
            try:
                with of_any_size():
                    image.seek(frame)
            except EOFError:
                break
            except Exception:  # a damaged directory fails in as many ways as a damaged image
                return [*frames, frame]
            if _is_picture(image):
                frames.append(frame)
        return frames


def _is_picture(image: Image.Image) -> bool:
    tags = image.tag_v2  # type: ignore[attr-defined]  # of a TIFF
    return not int(tags.get(_NEW_SUBFILE_TYPE, 0)) & NO_PICTURE and tags.get(_SUBFILE_TYPE) != _REDUCED
