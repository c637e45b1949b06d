"""The device that an option names."""

from __future__ import annotations

import torch

from fastmrcnn.errors import UserError


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where available, else the CPU; any other name must be a device of this machine.

    Raises ``UserError`` when it is not.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        cause = str(error).splitlines()[0]
        raise UserError(f"device must be auto, cpu or an accelerator of this machine; got {name!r}: {cause}") from None
    return device
