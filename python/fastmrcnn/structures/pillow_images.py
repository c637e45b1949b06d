"""Images that Pillow holds or decodes, and what it would cut off of PNGs with 16 bits of colour."""

from __future__ import annotations

import os

import numpy as np
import torch
from PIL import Image

from fastmrcnn.errors import UserError
from fastmrcnn.structures.bands import Bands, as_fractions
from fastmrcnn.structures.image_files import describe_failure, name_of_page, open_image
from fastmrcnn.structures.pixel_format import PixelFormat

_EXIF_ORIENTATION = 0x0112
_WIDTH, _HEIGHT, _PHOTOMETRIC = 256, 257, 262  # tags of a TIFF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # height and width change places
_OPAQUE_WHITE = (255, 255, 255, 255)
_SEVERAL_BANDS = ("LA", "RGBA", "RGBX", "CMYK")  # modes whose bands may be wanted as they are

# How the bytes of a deep PNG come through Pillow's decoders, all of which give 8 bits: once as the high bytes and once
# as the low ones; or, where a pixel has four bytes, all in one.
_DEEP_COLOUR = {"RGB;16B": ("RGB;16B", "RGB;16L"), "RGBA;16B": ("RGBA;16B", "RGBA;16L"), "LA;16B": ("RGBA",)}


def bands_of_file(path: str | os.PathLike[str], wanted: PixelFormat, frame: int | None = None) -> Bands:
    """The bands of a file in any format that Pillow reads, or of its page ``frame``; UserError where it is none."""
    with open_image(path, frame) as image:
        if (raw := _deep_colour(image)) is None:
            name = str(path) if frame is None else name_of_page(path, frame)
            return bands_of_pillow(image, name, wanted)
        deep = _decode_deep(path, _DEEP_COLOUR[raw])  # [H, W, K] uint16
        see_through = image.info.get("transparency")  # the one colour that stands for no paint
        fractions = as_fractions(deep, wanted.white_level, str(path), "an image of 16 bits")
        if isinstance(see_through, tuple):
            fractions[(deep == np.array(see_through)).all(axis=2)] = 1.0
        upright = np.ascontiguousarray(turn_upright(fractions, orientation_of(image)).transpose(2, 0, 1))
        return Bands(torch.from_numpy(upright), alpha=deep.shape[2] in (2, 4))


def load_cuttable(path: str | os.PathLike[str]) -> Image.Image | None:
    """The decoded image of a file of which :func:`bands_of_pillow` may be given parts; None where it may not.

    It then has to be turned, or is of 16 bits, which only the whole file gives.
    """
    with open_image(path) as image:
        if _deep_colour(image) is not None or not is_cuttable(image):
            return None
        image.load()
        return image


def is_cuttable(image: Image.Image) -> bool:
    """Whether each part of a Pillow image becomes the part of what the whole one becomes."""
    return orientation_of(image) not in _UPRIGHT and image.mode[0] not in "IF" and min(image.size) > 0


def file_size(path: str | os.PathLike[str], frame: int | None = None) -> tuple[int, int]:
    """(height, width) of an upright image, or of the page ``frame``, from the head of the file."""
    with open_image(path, frame) as image:
        return upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an image whose EXIF orientation is applied."""
    width, height = image.size
    stored = image.size
    if image.format == "TIFF":  # whose size Pillow gives upright, from some version on
        tags = image.tag_v2  # type: ignore[attr-defined]
        stored = tags.get(_WIDTH, width), tags.get(_HEIGHT, height)
    sideways = orientation_of(image) in _SIDEWAYS and image.size == stored
    return (width, height) if sideways else (height, width)


def bands_of_pillow(image: Image.Image, name: str, wanted: PixelFormat) -> Bands:
    """The bands of a Pillow image, brought upright: colour as RGB, unless another number of channels is wanted."""
    if min(image.size) < 1:
        raise UserError(f"{name}: expected an image; got one of {image.width} x {image.height} pixels")
    try:
        image.load()  # before the orientation is asked for: Pillow itself turns a TIFF upright here
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders answer damaged files with a dozen unrelated types
        raise UserError(f"{name}: expected an image file; {describe_failure(error)}") from None
    white_is_zero = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]
    if (orientation := orientation_of(image)) in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.mode[0] in "IF":  # I, I;16 (and its byte orders) and F: one deep channel
        deep = torch.from_numpy(_deep_grey(image, name, wanted))[None]
        return Bands(1 - deep if white_is_zero else deep)  # of 8 bits, Pillow does that
    if wanted.channels != 3 and image.mode in ("1", "L") and "transparency" not in image.info:
        return Bands(torch.from_numpy(np.array(image.convert("L")))[None])
    if wanted.channels not in (None, 1, 3) and image.mode in _SEVERAL_BANDS:
        pixels = np.asarray(image)
    else:
        try:
            pixels = np.asarray(_to_rgb(image))  # [H, W, 3]
        except ValueError:
            raise UserError(f"{name}: expected an image that converts to RGB; its mode is {image.mode}") from None
    return Bands(torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C")))  # a copy, which torch may own


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; a missing or unreadable EXIF block means upright, 1."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block fails in as many ways as a damaged image
        return 1


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [H, W, K] that were stored with an EXIF orientation, as they are to be seen."""
    if orientation in _SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # premultiplied alpha: Pillow converts it in two steps only
        image = image.convert("LA")
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _OPAQUE_WHITE), image).convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image, name: str, wanted: PixelFormat) -> np.ndarray:
    """The pixels of a 16-bit or floating-point image as float32 [H, W]; 0..white, or 0..1, becomes 0..1."""
    pixels = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else wanted.white_level
    fractions = as_fractions(pixels, top, name, f"an image of mode {image.mode}")
    see_through = image.info.get("transparency")  # in a PNG, the one value that stands for no paint
    if isinstance(see_through, int):
        fractions[pixels == see_through] = 1.0
    return fractions


def _deep_colour(image: Image.Image) -> str | None:
    """How the pixels of an opened PNG are stored that has 16 bits in each of several channels; None for all others."""
    if image.format != "PNG" or not (tiles := getattr(image, "tile", ())):
        return None
    raw = tiles[0][3]
    return raw if raw in _DEEP_COLOUR else None


def _decode_deep(path: str | os.PathLike[str], passes: tuple[str, ...]) -> np.ndarray:
    """The pixels of a deep PNG, [H, W, K] uint16."""
    parts = []
    for raw in passes:
        with open_image(path) as image:
            codec, extents, offset, _ = image.tile[0]  # type: ignore[attr-defined]  # of an image file
            image.tile = [(codec, extents, offset, raw)]  # type: ignore[attr-defined]
            parts.append(np.array(image).astype(np.uint16))
    if len(parts) == 1:  # high and low bytes alternate
        parts = [parts[0][:, :, 0::2], parts[0][:, :, 1::2]]
    return parts[0] << 8 | parts[1]
