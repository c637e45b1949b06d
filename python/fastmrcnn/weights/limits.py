"""How much memory a file may ask for: compressed and sparse forms let a few bytes claim any number of zeros."""

from __future__ import annotations

from pathlib import Path

_ALWAYS = 1 << 30  # bytes: what any file may unfold to


def most_bytes(path: Path) -> int:
    """What the values in a weights file may take in memory; weights hardly compress, so an honest one needs no more."""
    return max(_ALWAYS, 2 * path.stat().st_size)
