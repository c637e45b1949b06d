"""Opening image files: whatever fails becomes one line that names the file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from fastmrcnn.errors import UserError
from fastmrcnn.locks import lock_across_forks

HEIC_SUFFIXES = (".heic", ".heif")


@contextmanager
def open_image(path: str | os.PathLike[str], frame: int | None = None) -> Iterator[Image.Image]:
    """The Pillow image of a file, or of its page ``frame`` (from 0), to be decoded within the block; whatever fails
    there is a ``UserError``."""
    with readable(path, frame), _opened(path, frame) as image:
        yield image


_limit = lock_across_forks()  # on Image.MAX_IMAGE_PIXELS


@contextmanager
def of_any_size() -> Iterator[None]:
    """Large images are the user's right: in the block Pillow does not refuse those beyond 179 million pixels."""
    with _limit:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def _opened(path: str | os.PathLike[str], frame: int | None) -> Image.Image:
    if Path(path).suffix.lower() in HEIC_SUFFIXES:
        _read_heic_too(path)
    with of_any_size():
        image = Image.open(path)
        if frame is not None:
            try:
                image.seek(frame)
            except BaseException:
                image.close()
                raise
        return image


def _read_heic_too(path: str | os.PathLike[str]) -> None:
    """Teach Pillow the format of phones, which it has no decoder for."""
    try:
        import pillow_heif
    except ImportError:
        raise UserError(
            f"{path}: expected the package pillow-heif, which reads HEIC: pip install pillow-heif"
        ) from None
    pillow_heif.register_heif_opener()


@contextmanager
def readable(path: str | os.PathLike[str], frame: int | None = None) -> Iterator[None]:
    """Whatever fails in the block that reads the image file ``path``, or its page ``frame``, is a ``UserError`` that
    names it."""
    name = str(path) if frame is None else name_of_page(path, frame)
    with decoders_hushed:
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


def name_of_page(path: str | os.PathLike[str], frame: int) -> str:
    """How a page of a file is called; they count from 1 there.

    >>> name_of_page("scan.tif", 2)
    'scan.tif, page 3'
    """
    return f"{path}, page {frame + 1}"


class _DecodersHushed(AbstractContextManager[None]):
    """What decoders warn of is ignored: a damaged EXIF block, for one, leaves the picture intact.

    ``warnings.catch_warnings`` is one for all threads: of several at once, the first to leave would put back what the
    others still need, and the last one what was there in between. Here the first to enter sets the filters and the last
    to leave takes them away. A thread that keeps this while others read may use ``catch_warnings`` itself.
    """

    def __init__(self) -> None:
        self._lock, self._inside = lock_across_forks(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("ignore", module=r"(PIL|tifffile|numpy)\b")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._before.__exit__(None, None, None)


decoders_hushed = _DecodersHushed()


def describe_failure(error: Exception) -> str:
    """One line for what reading or decoding raised; only the operating system's errors have a number."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"it cannot be read: {error.strerror}"
    return f"it does not decode: {' '.join(str(error).split()) or type(error).__name__}"


def _describe_file(path: str | os.PathLike[str]) -> str:
    return "the file is empty" if Path(path).stat().st_size == 0 else "it is in no image format, or damaged"
