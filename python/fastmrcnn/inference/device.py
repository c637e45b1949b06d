"""The device that an option names."""

from __future__ import annotations

import torch

from fastmrcnn import distributed
from fastmrcnn.errors import UserError, first_line
from fastmrcnn.ops import nms


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where it is available to PyTorch and to this build's operators, else the CPU.

    Of several processes each has a GPU of its own.

    Raises ``UserError`` for any other name that is no device of this machine or one without operators, and where there
    are more processes than GPUs.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        usable = torch.cuda.is_available() and why_not(torch.device("cuda")) is None
        return _own_gpu(name) if usable else torch.device("cpu")
    try:
        device = torch.device(name)
        problem = why_not(device)
    except RuntimeError as error:
        problem = first_line(error)
    if problem is not None:
        raise UserError(f"device must be auto, cpu or an accelerator that this build supports; got {name!r}: {problem}")
    return _own_gpu(name) if device.type == "cuda" else device


def _own_gpu(name: str) -> torch.device:
    """The GPU that ``name`` stands for in this process."""
    if distributed.processes() == 1:
        return torch.device("cuda" if name == "auto" else name)
    if name not in ("auto", "cuda"):
        raise UserError(f"device: several processes have a GPU each; expected auto, cuda or cpu; got {name!r}")
    number, count = distributed.local_rank(), torch.cuda.device_count()
    if number >= count:
        raise UserError(
            f"device: expected a GPU for process {number + 1} of this machine; it has {count}: start fewer processes, "
            f"or name cpu"
        )
    torch.cuda.set_device(number)  # also for what names no number
    return torch.device("cuda", number)


def why_not(device: torch.device) -> str | None:
    """Why the operators do not run on ``device``; None where they do. It is found out by running one."""
    try:
        nms(torch.zeros((1, 4), device=device), torch.zeros(1, device=device), 0.5)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        return first_line(error)
    return None
