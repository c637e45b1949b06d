"""The device that an option names."""

from __future__ import annotations

import torch

from fastmrcnn.errors import UserError, first_line
from fastmrcnn.ops import nms


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where it is available to PyTorch and to this build's operators, else the CPU.

    Raises ``UserError`` for any other name that is no device of this machine or one without operators.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        usable = torch.cuda.is_available() and why_not(torch.device("cuda")) is None
        return torch.device("cuda" if usable else "cpu")
    try:
        device = torch.device(name)
        problem = why_not(device)
    except RuntimeError as error:
        problem = first_line(error)
    if problem is not None:
        raise UserError(f"device must be auto, cpu or an accelerator that this build supports; got {name!r}: {problem}")
    return device


def why_not(device: torch.device) -> str | None:
    """Why the operators do not run on ``device``; None where they do. It is found out by running one."""
    try:
        nms(torch.zeros((1, 4), device=device), torch.zeros(1, device=device), 0.5)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        return first_line(error)
    return None
