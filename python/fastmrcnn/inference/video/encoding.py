"""Writing a video, frame after frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fastmrcnn.errors import UserError
from fastmrcnn.inference.video.decoding import pyav
from fastmrcnn.inference.video.pixels import colour_space_of

_TICKS = 60_000  # a second: whole numbers of them for all usual rates, and few enough for MPEG-4
_USUAL_RATE = 25.0
# What players play, and its settings; the second where a build of FFmpeg lacks the first.
_CODECS = {"libx264": {"preset": "veryfast", "crf": "23"}, "mpeg4": {"qmin": "2", "qmax": "6", "b": "20M"}}
_BT709, _SMPTE170M = 1, 6  # matrix coefficients (ITU-T H.273)
_LIMITED_RANGE = 1


class VideoWriter:
    """An MP4 file with frames of any times, of the size of the first. Sides become even, as 4:2:0 needs them."""

    def __init__(self, path: Path, rate: float | None) -> None:
        """``rate``: frames per second, about."""
        self._av, self._path = pyav(), path
        self._rate = Fraction(rate or _USUAL_RATE).limit_denominator(1001)
        self._file = self._av.open(str(path), "w", format="mp4")
        self._stream: Any = None
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._first, self._last = 0.0, -1

    def add(self, pixels: np.ndarray, time: float) -> None:
        """Append a frame, uint8 [H, W, 3] RGB, shown from ``time`` seconds on; the first one begins the video."""
        from av.video.reformatter import ColorRange

        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._first, self._stream = time, self._new_stream(even.shape[1], even.shape[0])
        frame = self._reformatter.reformat(
            self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24"),
            width=self._stream.width,
            height=self._stream.height,
            format="yuv420p",
            dst_colorspace=colour_space_of(self._matrix, self._stream.width, self._stream.height),
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        self._last = max(self._last + 1, round((time - self._first) * _TICKS))  # times in a file may stand still
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._write(frame)

    def close(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            self._write(None)
        self._file.close()

    def _new_stream(self, width: int, height: int) -> Any:
        known = self._av.codec.codecs_available
        codec = next((name for name in _CODECS if name in known), None)
        if codec is None:
            raise UserError(f"{self._path}: expected a PyAV that encodes H.264 or MPEG-4; this one has neither")
        stream = self._file.add_stream(codec, rate=self._rate, options=_CODECS[codec])
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        self._matrix = _BT709 if height > 576 or width >= 1280 else _SMPTE170M
        context = stream.codec_context
        context.time_base, context.colorspace, context.color_range = Fraction(1, _TICKS), self._matrix, _LIMITED_RANGE
        return stream

    def _write(self, frame: Any) -> None:
        self._file.mux(self._stream.encode(frame))
