"""Every way of handing over an image, turned into one: an RGB tensor [3, H, W], uint8 or float in 0..1.

``read_image`` reads a file; ``as_image_tensor`` takes files, Pillow images, numpy arrays and tensors alike.
Whatever cannot be an image is refused with one line that names the source, what was expected and what was
found.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from fastmrcnn.errors import UserError

ImageSource: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray | Tensor"

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""By which a folder's images are told from its other files."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEPEST = 65535.0  # of 16 bits
_SIDEWAYS = (5, 6, 7, 8)  # height and width change places
_OPAQUE_WHITE = (255, 255, 255, 255)


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read an image file (any format that Pillow reads) as an RGB tensor [3, H, W].

    It is uint8; of a grayscale file of 16 bits or floating-point numbers it is float32 in 0..1, which loses nothing
    of its depth. The EXIF orientation is applied. Grayscale, palette and CMYK images become RGB, transparent pixels
    show white, and of an animation the first frame is taken.

    Raises ``UserError`` naming the file when it is missing, is no image or is damaged.

    >>> read_image("photograph.jpg").shape  # doctest: +SKIP
    torch.Size([3, 480, 640])
    """
    with open_image(path) as image:
        return _from_pil(image, str(path))


def read_image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of what :func:`read_image` would give, from the head of the file; the same errors."""
    with open_image(path) as image:
        width, height = image.size
        sideways = _orientation(image) in _SIDEWAYS
        return (width, height) if sideways else (height, width)


@contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """The Pillow image of a file, to be decoded within the block; whatever fails there is a ``UserError``."""
    name = str(path)
    with warnings.catch_warnings():
        # Large images are the user's right, and a damaged EXIF block leaves the picture intact.
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                yield image
        except (MemoryError, UserError):
            raise
        except FileNotFoundError:
            raise UserError(f"{name}: expected an image file; there is no such file") from None
        except IsADirectoryError:
            raise UserError(f"{name}: expected an image file; this is a folder") from None
        except UnidentifiedImageError:
            raise UserError(f"{name}: expected an image file; {_describe_file(path)}") from None
        except Exception as error:
            raise UserError(f"{name}: expected an image file; {_describe_failure(error)}") from None


def as_image_tensor(source: ImageSource, *, name: str | None = None) -> Tensor:
    """Turn any accepted image into an RGB tensor [3, H, W]: uint8, or float32 in 0..1 for 16-bit and floating-point
    input.

    ``source`` is one of

    * a path (see :func:`read_image`) or a Pillow image of any mode, brought upright as a file would be;
    * a numpy array, channels last: uint8 or uint16 [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA), or float
      in 0..1;
    * a tensor, channels first: uint8 or uint16 [3, H, W] or [1, H, W], or float in 0..1. It stays on its device.

    The result may share memory with an array or tensor given. ``name`` stands for the image in error
    messages.

    Raises ``UserError`` for anything else, and for NaN or values outside 0..1 in floating-point input.

    >>> as_image_tensor(np.zeros((480, 640, 3), np.uint8)).shape
    torch.Size([3, 480, 640])
    >>> as_image_tensor(torch.zeros(8, 3, 8))
    Traceback (most recent call last):
        ...
    fastmrcnn.errors.UserError: image: expected a tensor [3, H, W] or [1, H, W]; got [8, 3, 8]
    """
    if isinstance(source, str | os.PathLike):
        return read_image(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, name or str(getattr(source, "filename", "") or "image"))
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "image")
    if isinstance(source, Tensor):
        return _from_tensor(source, name or "image")
    expected = "a path, a Pillow image, a numpy array or a tensor"
    raise UserError(f"{name or 'image'}: expected {expected}; got {type(source).__name__}")


def _from_pil(image: Image.Image, name: str) -> Tensor:
    if min(image.size) < 1:
        raise UserError(f"{name}: expected an image; got one of {image.width} x {image.height} pixels")
    try:
        image.load()  # before the orientation is asked for: Pillow itself turns a TIFF upright here
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders answer damaged files with a dozen unrelated types
        raise UserError(f"{name}: expected an image file; {_describe_failure(error)}") from None
    image = _upright(image)
    if image.mode[0] in "IF":  # I, I;16 (and its byte orders) and F: one deep channel
        return _from_tensor(torch.from_numpy(_to_fractions(image, name))[None], name)
    try:
        pixels = np.array(_to_rgb(image))  # [H, W, 3]; a copy, which torch may own
    except ValueError:
        raise UserError(f"{name}: expected an image that converts to RGB; its mode is {image.mode}") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a missing or unreadable EXIF block means upright."""
    orientation = _orientation(image)
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block fails in as many ways as a damaged image
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # premultiplied alpha: Pillow converts it in two steps only
        image = image.convert("LA")
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _OPAQUE_WHITE), image).convert("RGB")
    return image.convert("RGB")


def _to_fractions(image: Image.Image, name: str) -> np.ndarray:
    """The pixels of a 16-bit or floating-point image as float32 [H, W]; 0..65535, or 0..1, becomes 0..1."""
    pixels = np.asarray(image).astype(np.float64)
    low, high = pixels.min(), pixels.max()
    top = 1.0 if image.mode == "F" else _DEEPEST
    if not (low >= 0 and high <= top):  # NaN fails
        expected = f"values in 0..{top:g} in an image of mode {image.mode}"
        raise UserError(f"{name}: expected {expected}; got {low:g} to {high:g}")
    fractions = (pixels / top).astype(np.float32)
    see_through = image.info.get("transparency")  # in a PNG, the one value that stands for no paint
    if isinstance(see_through, int):
        fractions[pixels == see_through] = 1.0
    return fractions


def _from_array(array: np.ndarray, name: str) -> Tensor:
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        hint = " (channels first: pass torch.from_numpy(array))" if _channels_first(array) else ""
        expected = "an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
        raise UserError(f"{name}: expected {expected}; got {list(array.shape)}{hint}")
    if pixels.dtype not in (np.uint8, np.uint16) and pixels.dtype.kind != "f":
        raise UserError(f"{name}: expected a uint8 or uint16 array, or float in 0..1; got {pixels.dtype}")
    if pixels.dtype == np.uint16:
        pixels = (pixels / _DEEPEST).astype(np.float32)
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
    pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if not pixels.flags.writeable:  # torch has no read-only tensors
        pixels = pixels.copy()
    return _checked_rgb(torch.from_numpy(pixels), name)


def _from_tensor(tensor: Tensor, name: str) -> Tensor:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        channels_last = tensor.ndim == 3 and tensor.shape[2] in (1, 3, 4)
        hint = " (channels last: use tensor.permute(2, 0, 1))" if channels_last else ""
        raise UserError(f"{name}: expected a tensor [3, H, W] or [1, H, W]; got {list(tensor.shape)}{hint}")
    return _checked_rgb(tensor, name)


def _checked_rgb(pixels: Tensor, name: str) -> Tensor:
    """Check the values of a grayscale, RGB or RGBA tensor [1, 3 or 4, H, W] and bring it to RGB [3, H, W]."""
    if 0 in pixels.shape:
        raise UserError(f"{name}: expected at least one pixel; got {list(pixels.shape)}")
    if pixels.dtype == torch.uint16:
        pixels = pixels.float() / _DEEPEST
    if pixels.is_floating_point():
        low, high = (float(extreme) for extreme in pixels.detach().aminmax())
        if not (low >= 0 and high <= 1):  # NaN fails
            hint = " (divide by 255, or pass uint8)" if low >= 0 and 1 < high <= 255 else ""
            raise UserError(f"{name}: expected float values in 0..1; got {low:g} to {high:g}{hint}")
        pixels = pixels.float()
    elif pixels.dtype != torch.uint8:
        raise UserError(f"{name}: expected a uint8 or uint16 tensor, or float in 0..1; got {pixels.dtype}")
    if pixels.shape[0] == 4:
        return _over_white(pixels)
    return pixels if pixels.shape[0] == 3 else pixels.expand(3, -1, -1)


def _over_white(pixels: Tensor) -> Tensor:
    """Composite RGBA pixels [4, H, W], uint8 or float in 0..1, over white: [3, H, W]."""
    white = 1.0 if pixels.is_floating_point() else 255.0
    colour, alpha = pixels[:3].float(), pixels[3:].float() / white
    composite = colour * alpha + white * (1.0 - alpha)
    return composite if pixels.is_floating_point() else composite.round().to(torch.uint8)


def _channels_first(array: np.ndarray) -> bool:
    return array.ndim == 3 and array.shape[0] in (1, 3)


def _describe_file(path: str | os.PathLike[str]) -> str:
    return "the file is empty" if Path(path).stat().st_size == 0 else "it is in no image format, or damaged"


def _describe_failure(error: Exception) -> str:
    """One line for what reading or decoding raised; only the operating system's errors have a number."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"it cannot be read: {error.strerror}"
    return f"it does not decode: {' '.join(str(error).split()) or type(error).__name__}"
