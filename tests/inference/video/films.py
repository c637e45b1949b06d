"""Small videos, written by PyAV, and what is asked about them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmrcnn.inference import PredictConfig

av = pytest.importorskip("av")

RATE = 10  # frames a second


def moving_frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Blocks of colours, each frame different from the others: uint8 [H, W, 3]."""
    blocks = np.random.default_rng(0).integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    picture = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    return [np.roll(picture, 3 * number, axis=1) for number in range(count)]


def write_film(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    codec: str = "ffv1",
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    **reformat: Any,
) -> Path:
    """``ffv1`` keeps every value of RGB; other codecs get 4:2:0 in the colours that ``reformat`` says.

    times: of each frame, in seconds; RATE frames a second by default.
    """
    height, width = frames[0].shape[:2]
    pix_fmt = {"ffv1": "bgr0", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    with av.open(str(path), "w", options=container or {}) as film:
        stream = film.add_stream(codec, rate=RATE, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.gop_size = 4
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format=pix_fmt, **reformat)
            frame.pts = round(1000 * (number / RATE if times is None else times[number]))
            frame.time_base = Fraction(1, 1000)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


def turn(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into an MP4: x' = a x + c y, y' = b x + d y."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 4 + 20 + 16  # of version 0: flags, times, id and duration; layer and volume
    content[matrix : matrix + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def config_for(film: str | Path, weights: str, output: Path, **changes: Any) -> PredictConfig:
    defaults: dict[str, Any] = {"weights": weights, "output": output, "score_threshold": 0.05, "device": "cpu"}
    return PredictConfig(images=(str(film),), **(defaults | changes))


def frames_of(path: Path) -> list[Any]:
    with av.open(str(path)) as film:
        return list(film.decode(video=0))
