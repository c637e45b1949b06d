"""How much memory a run takes."""

from __future__ import annotations

import torch

from fastmrcnn.memory import resident_bytes

GIB = 2.0**30


def memory_row(device: torch.device) -> dict[str, float]:
    """``memory_gib``: what the training process has of the host's memory now, its workers' not included.

    ``gpu_memory_gib``: the most that its tensors took of a GPU since it began.
    """
    row = {"memory_gib": round(resident_bytes() / GIB, 3)}
    if device.type == "cuda":
        row["gpu_memory_gib"] = round(torch.cuda.max_memory_allocated(device) / GIB, 3)
    return row
