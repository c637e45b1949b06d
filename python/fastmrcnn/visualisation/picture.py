"""What is seen of an image with any number of channels and any depth."""

from __future__ import annotations

import numpy as np

_DARK = 0.25  # of white: an image whose brightest values lie below is shown brighter
_BRIGHTEST = 0.999  # the share of values that may not exceed what is shown white: a hot pixel does not count
_LOOKED_AT = 1024  # rows and columns at most that the brightest values are sought in


def as_picture(pixels: np.ndarray) -> np.ndarray:
    """The RGB picture of an image, uint8 [H, W, 3].

    Of three channels and more the first three are shown as red, green and blue, of one or two the first as grey.
    Floating-point images that would come out nearly black are made brighter: images of 16 bits often use few of them.

    Args:
        pixels: [H, W] or [H, W, C], uint8 or float in 0..1.

    Raises:
        ValueError: another shape or dtype, or values beyond 0..1.

    >>> as_picture(np.full((1, 1, 5), 0.5, np.float32)).tolist()
    [[[128, 128, 128]]]
    """
    bands = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if bands.ndim != 3 or bands.shape[2] == 0 or not (bands.dtype == np.uint8 or bands.dtype.kind == "f"):
        expected = "image must be [H, W] or [H, W, channels], uint8 or float in 0..1"
        raise ValueError(f"{expected}; got {pixels.dtype} {list(pixels.shape)}")
    shown = bands[:, :, :3] if bands.shape[2] >= 3 else np.repeat(bands[:, :, :1], 3, axis=2)
    if shown.dtype != np.uint8 and shown.size:
        if not (shown.min() >= 0 and shown.max() <= 1):  # NaN fails
            raise ValueError(f"image must be in 0..1 where it is float; got {shown.min():g} to {shown.max():g}")
        white = _white_of(shown)
        shown = np.round((shown if white == 1 else np.minimum(shown / white, 1)) * 255)
    shown = shown.astype(np.uint8, copy=False)
    return np.ascontiguousarray(shown)


def _white_of(pixels: np.ndarray) -> float:
    """What is shown white: 1, or less of a dark image."""
    rows, columns = (-(-side // _LOOKED_AT) for side in pixels.shape[:2])
    brightest = float(np.quantile(pixels[::rows, ::columns], _BRIGHTEST))
    return brightest if 0 < brightest < _DARK else 1.0
