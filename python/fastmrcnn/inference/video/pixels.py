"""Decoded frames as upright RGB pictures, in the colours that were filmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame

# Matrix coefficients as frames name them (ITU-T H.273), and the colour spaces of swscale that they are (SWS_CS_*).
_UNSPECIFIED, _BT709, _BT601 = 2, 1, 5
_COLOUR_SPACES = {1: _BT709, 4: 4, 7: 7, 9: 9, 10: 9}  # BT.709, FCC, SMPTE 240M, BT.2020 of both kinds
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics


class PictureOf:
    """Makes pictures of frames, one at a time."""

    def __init__(self, *, grey: bool = False) -> None:
        from av.video.reformatter import VideoReformatter

        self._grey = grey
        self._reformatter = VideoReformatter()  # setting one up for each frame would take longer than small frames do

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """The pixels, uint8 [H, W, 3] RGB, or [H, W] of brightness, turned as the display matrix says."""
        from av.video.reformatter import ColorRange

        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        picture = self._reformatter.reformat(
            frame,
            format="gray" if self._grey else "rgb24",
            src_colorspace=colour_space_of(frame.colorspace, frame.width, frame.height),
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        side_data: Any = frame.side_data
        matrix = side_data.get("DISPLAYMATRIX")
        return upright(picture.to_ndarray(), None if matrix is None else np.frombuffer(matrix, np.int32).reshape(3, 3))


def shown_otherwise(frame: VideoFrame) -> list[str]:
    """In what :class:`PictureOf` falls short of a player, of this frame."""
    curve, found = _HDR.get(frame.color_trc), []
    if curve is not None:
        found.append(f"high dynamic range ({curve}) is read as if it were standard, so colours are pale")
    if frame.interlaced_frame:
        found.append("frames are interlaced and stay so: what moves has combed edges")
    return found


def colour_space_of(matrix: int, width: int, height: int) -> int:
    """Which of swscale's colour spaces ``matrix`` is. Video that does not say has BT.709 in high definition, as players
    assume, and else BT.601."""
    if matrix == _UNSPECIFIED and (width >= 1280 or height > 576):
        return _BT709
    return _COLOUR_SPACES.get(matrix, _BT601)


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
