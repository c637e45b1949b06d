"""Memory of Python and numpy, by ``tracemalloc``."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable


def least_peak(call: Callable[[], object], times: int = 2) -> int:
    """Bytes at the peak of a call: the least of several, as other threads of pytest's process allocate too."""
    peaks = []
    for _ in range(times):
        tracemalloc.start()
        call()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(peaks)
