"""How much memory a run takes."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import torch

GIB = 2.0**30


def memory_row(device: torch.device) -> dict[str, float]:
    """``memory_gib``: what the training process has of the host's memory now, its workers' not included.

    ``gpu_memory_gib``: the most that its tensors took of a GPU since it began.
    """
    row = {"memory_gib": round(resident_bytes() / GIB, 3)}
    if device.type == "cuda":
        row["gpu_memory_gib"] = round(torch.cuda.max_memory_allocated(device) / GIB, 3)
    return row


def resident_bytes() -> int:
    """Resident memory of this process; where the system does not tell, the most that it ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
