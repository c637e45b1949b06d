"""How much memory this process takes."""

from __future__ import annotations

import os
import re
import resource
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")  # of Linux
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def resident_bytes() -> int:
    """What is resident now; where the system does not tell, the most that ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most that was resident since :func:`forget_peak`, or since the process began where that is not possible.

    ``getrusage`` would count what the process was forked from.
    """
    with suppress(OSError):
        if (peak := _PEAK.search(_STATUS.read_text(encoding="utf-8", errors="replace"))) is not None:
            return int(peak[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> bool:
    """Let the peak count from here; whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
