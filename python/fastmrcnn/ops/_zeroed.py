"""Zeroed memory of which only what is written becomes pages."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_ADVISED = 2**22  # bytes from which on numpy asks the system for huge pages
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}  # not on Windows


def zeroed_bitmaps(shape: Sequence[int]) -> Tensor:
    """``False`` everywhere, bool, on the CPU.

    Not of ``numpy.zeros``: its huge pages are zeroed as a whole, wherever a mask lies, and the system may have to move
    others' pages to have one, which for 100 bitmaps of a photograph took 10 to 160 ms.
    """
    size = math.prod(shape)
    if size < _ADVISED:
        return torch.from_numpy(np.zeros(shape, dtype=np.bool_))
    return torch.from_numpy(np.frombuffer(mmap.mmap(-1, size, **_PRIVATE), dtype=np.bool_).reshape(shape))
