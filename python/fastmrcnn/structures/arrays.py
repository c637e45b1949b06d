"""Images in numpy arrays, files of such arrays, and tensors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.structures.bands import Bands, as_fractions, beyond_white, training_hint
from fastmrcnn.structures.image_files import readable
from fastmrcnn.structures.pixel_format import DEEPEST, PixelFormat


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of ``numpy.save``, by its suffix."""
    return Path(path).suffix.lower() == ".npy"


def load_array(path: str | os.PathLike[str], *, head_only: bool = False) -> np.ndarray:
    """The array in a ``.npy`` file; with ``head_only`` nothing but its shape and dtype is read until it is used."""
    with readable(path):
        array: np.ndarray = np.load(path, mmap_mode="r" if head_only else None, allow_pickle=False)
    return array


def array_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of the image in a ``.npy`` file."""
    shape = load_array(path, head_only=True).shape
    if len(shape) not in (2, 3):
        raise UserError(f"{path}: expected an array [H, W] or [H, W, channels]; got {list(shape)}")
    return shape[0], shape[1]


def checked_array(array: np.ndarray, name: str, wanted: PixelFormat) -> np.ndarray:
    """An array as [H, W, K], of which nothing is read; UserError where shape or type are not those of an image."""
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim != 3 or not _fits(pixels.shape[2], wanted):
        hint = " (channels first: pass torch.from_numpy(array))" if _channels_first(array, wanted) else ""
        if pixels.ndim == 3 and pixels.shape[2] > 0 and not hint:
            hint = training_hint(wanted, pixels.shape[2])
        raise UserError(f"{name}: expected {_expected_array(wanted)}; got {list(array.shape)}{hint}")
    if pixels.dtype not in (np.uint8, np.uint16) and pixels.dtype.kind != "f":
        raise UserError(f"{name}: expected a uint8 or uint16 array, or float in 0..1; got {pixels.dtype}")
    return pixels


def bands_of_array(array: np.ndarray, name: str, wanted: PixelFormat) -> Bands:
    """Of an array [H, W] or [H, W, K], uint8, uint16 or float in 0..1; the last one of four is alpha unless four
    channels are wanted."""
    pixels = checked_array(array, name, wanted)
    if pixels.dtype == np.uint16 and pixels.size:
        pixels = as_fractions(pixels, wanted.white_level, name, "an array of 16 bits")
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
    pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if not pixels.flags.writeable:  # torch has no read-only tensors
        pixels = pixels.copy()
    return Bands(checked(torch.from_numpy(pixels), name, wanted), alpha=pixels.shape[0] == 4)


def bands_of_tensor(tensor: Tensor, name: str, wanted: PixelFormat) -> Bands:
    """Of a tensor [K, H, W], uint8, uint16 or float in 0..1."""
    count = tensor.shape[0] if tensor.ndim == 3 else 0
    if count == 0 or not (_fits(count, wanted) and (count != 4 or wanted.channels in (None, 4))):
        channels_last = tensor.ndim == 3 and tensor.shape[2] in {1, 3, 4, wanted.channels}
        hint = " (channels last: use tensor.permute(2, 0, 1))" if channels_last else ""
        raise UserError(f"{name}: expected {_expected_tensor(wanted)}; got {list(tensor.shape)}{hint}")
    return Bands(checked(tensor, name, wanted))


def checked(pixels: Tensor, name: str, wanted: PixelFormat) -> Tensor:
    """Pixels [K, H, W] of any accepted type as uint8 or float32; UserError for others, and for values beyond 0..1."""
    if 0 in pixels.shape:
        raise UserError(f"{name}: expected at least one pixel; got {list(pixels.shape)}")
    if pixels.dtype == torch.uint16:
        pixels = _below_white(pixels.float(), name, wanted.white_level)
    if pixels.is_floating_point():
        low, high = (float(extreme) for extreme in pixels.detach().aminmax())
        if not (low >= 0 and high <= 1):  # NaN fails
            hint = " (divide by 255, or pass uint8)" if low >= 0 and 1 < high <= 255 else ""
            raise UserError(f"{name}: expected float values in 0..1; got {low:g} to {high:g}{hint}")
        return pixels.float()
    if pixels.dtype != torch.uint8:
        raise UserError(f"{name}: expected a uint8 or uint16 tensor, or float in 0..1; got {pixels.dtype}")
    return pixels


def _below_white(pixels: Tensor, name: str, white: int) -> Tensor:
    if white < DEEPEST and float(pixels.amax()) > white:
        low, high = (float(extreme) for extreme in pixels.aminmax())
        raise UserError(beyond_white(name, white, "a tensor of 16 bits", low, high))
    return pixels / white


def _fits(count: int, wanted: PixelFormat) -> bool:
    """Whether an image with so many bands may become one of the wanted channels."""
    if wanted.channels in (1, 3):
        return count in (1, 3, 4)
    return wanted.channels is None or count == wanted.channels


def _expected_array(wanted: PixelFormat) -> str:
    several = {None: "[H, W] or [H, W, channels]", 1: "[H, W] or [H, W, 1]"}
    if wanted.channels == 3:
        return "an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
    return f"an array {several.get(wanted.channels, f'[H, W, {wanted.channels}]')}"


def _expected_tensor(wanted: PixelFormat) -> str:
    several = {None: "[channels, H, W]", 3: "[3, H, W] or [1, H, W]"}
    return f"a tensor {several.get(wanted.channels, f'[{wanted.channels}, H, W]')}"


def _channels_first(array: np.ndarray, wanted: PixelFormat) -> bool:
    return array.ndim == 3 and array.shape[0] in {1, 3, wanted.channels}
