"""Decoded frames as upright RGB pictures, in the colours that were filmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame

# Matrix coefficients as frames name them (ITU-T H.273), and which of PyAV's colour spaces each is.
_RGB, _BT709, _UNSPECIFIED, _FCC, _SMPTE240M, _BT2020 = 0, 1, 2, 4, 7, (9, 10)
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


def picture_of(frame: VideoFrame, *, grey: bool = False) -> np.ndarray:
    """The pixels, uint8 [H, W, 3] RGB, or [H, W] of brightness, turned as the display matrix says."""
    from av.video.reformatter import ColorRange

    full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
    pixels: np.ndarray = frame.to_ndarray(
        format="gray" if grey else "rgb24",
        src_colorspace=colour_space_of(frame.colorspace, frame.width, frame.height),
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    )
    return upright(pixels, _display_matrix(frame))


def colour_space_of(matrix: int, width: int, height: int) -> Any:
    """Which of PyAV's colour spaces ``matrix`` is. Video that does not say has BT.709 in high definition, as players
    assume, and else BT.601."""
    from av.video.reformatter import Colorspace

    known = {_BT709: Colorspace.ITU709, _FCC: Colorspace.FCC, _SMPTE240M: Colorspace.SMPTE240M}
    known |= dict.fromkeys(_BT2020, Colorspace.BT2020)
    if matrix == _UNSPECIFIED and (width >= 1280 or height > 576):
        return Colorspace.ITU709
    return known.get(matrix, Colorspace.ITU601)


def upright(pixels: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """``pixels`` [H, W, ...] as they are to be shown; rotations by other than quarter turns are left out.

    matrix: [3, 3], FFmpeg's display matrix: a row vector (x, y, 1) of the frame times it is where the pixel is shown.

    >>> quarter_turn = np.array([[0, 65536, 0], [-65536, 0, 0], [0, 0, 1 << 30]])  # clockwise
    >>> upright(np.array([[1, 2], [3, 4]]), quarter_turn).tolist()
    [[3, 1], [4, 2]]
    """
    if matrix is None:
        return pixels
    (x_to_x, x_to_y), (y_to_x, y_to_y) = np.sign(matrix[:2, :2]).tolist()
    if x_to_x and y_to_y and not x_to_y and not y_to_x:
        turned = pixels[::y_to_y, ::x_to_x]
    elif x_to_y and y_to_x and not x_to_x and not y_to_y:
        turned = np.swapaxes(pixels, 0, 1)[::x_to_y, ::y_to_x]
    else:
        return pixels
    return np.ascontiguousarray(turned)


def _display_matrix(frame: VideoFrame) -> np.ndarray | None:
    side_data: Any = frame.side_data
    matrix = next((data for data in side_data if data.type.name == "DISPLAYMATRIX"), None)
    return None if matrix is None else np.frombuffer(matrix, np.int32).reshape(3, 3)
