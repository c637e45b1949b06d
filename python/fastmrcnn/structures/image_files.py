"""Opening image files: whatever fails becomes one line that names the file."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from fastmrcnn.errors import UserError


@contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """The Pillow image of a file, to be decoded within the block; whatever fails there is a ``UserError``."""
    with readable(path), _open(path) as image:
        yield image


_limit = threading.Lock()  # on Image.MAX_IMAGE_PIXELS


def _open(path: str | os.PathLike[str]) -> Image.Image:
    """A file of any size: large images are the user's right, and beyond 179 million pixels Pillow refuses them."""
    with _limit:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = usual


@contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever fails in the block that reads the image file ``path`` is a ``UserError`` that names it."""
    name = str(path)
    with warnings.catch_warnings():
        # A damaged EXIF block leaves the picture intact.
        warnings.simplefilter("ignore")
        try:
            yield
        except (MemoryError, UserError):
            raise
        except FileNotFoundError:
            raise UserError(f"{name}: expected an image file; there is no such file") from None
        except IsADirectoryError:
            raise UserError(f"{name}: expected an image file; this is a folder") from None
        except UnidentifiedImageError:
            raise UserError(f"{name}: expected an image file; {_describe_file(path)}") from None
        except Exception as error:  # decoders answer damaged files with a dozen unrelated types
            raise UserError(f"{name}: expected an image file; {describe_failure(error)}") from None


def describe_failure(error: Exception) -> str:
    """One line for what reading or decoding raised; only the operating system's errors have a number."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"it cannot be read: {error.strerror}"
    return f"it does not decode: {' '.join(str(error).split()) or type(error).__name__}"


def _describe_file(path: str | os.PathLike[str]) -> str:
    return "the file is empty" if Path(path).stat().st_size == 0 else "it is in no image format, or damaged"
