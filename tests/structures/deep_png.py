"""PNGs of 16 bits in several channels, which Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np

_COLOUR_TYPES = {2: 4, 3: 2, 4: 6}  # by the number of channels: grey and alpha, RGB, RGBA


def write_deep_png(path: Path, pixels: np.ndarray, *, transparent: tuple[int, int, int] | None = None) -> None:
    """Write uint16 pixels [H, W, 2, 3 or 4] (PNG specification, sections 5 and 11)."""
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    big = pixels.astype(">u2")
    rows = [b"\0" + big[0].tobytes()]  # unfiltered
    for before, row in pairwise(big):  # the others as differences to the row above
        difference = np.frombuffer(row.tobytes(), np.uint8) - np.frombuffer(before.tobytes(), np.uint8)
        rows.append(b"\2" + difference.tobytes())
    chunks = [_chunk(b"IHDR", head)]
    if transparent is not None:
        chunks.append(_chunk(b"tRNS", struct.pack(">HHH", *transparent)))
    chunks += [_chunk(b"IDAT", zlib.compress(b"".join(rows))), _chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
