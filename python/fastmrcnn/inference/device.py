"""The device that an option names."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path

import torch

from fastmrcnn import distributed
from fastmrcnn.errors import UserError, first_line
from fastmrcnn.ops import nms

_log = logging.getLogger(__name__)
_GPU = Path("/dev/nvidia0")


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where it is available to PyTorch and to this build's operators, else the CPU.

    A GPU that ``auto`` cannot use is a warning in the log, with the reason. Of several processes each has a GPU of its
    own.

    Raises ``UserError`` for any other name that is no device of this machine or one without operators, and where there
    are more processes than GPUs.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        problem = _why_no_gpu()
        if problem:
            _say(f"device: the CPU, though this machine has a GPU: {problem}")
        return _own_gpu(name) if problem is None else torch.device("cpu")
    try:
        device = torch.device(name)
        problem = why_not(device)
    except RuntimeError:  # which lists all that torch has a name for
        problem = "no such device"
    if problem is not None:
        raise UserError(
            f"device must be auto, cpu, or cuda (cuda:1, ...) where there is a GPU; got {name!r}: {problem}"
        )
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


def _why_no_gpu() -> str | None:
    """Why ``auto`` does not take a GPU, empty where there is none, or none to be seen; None where it does."""
    if torch.cuda.is_available():
        return why_not(torch.device("cuda"))
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or not _GPU.exists():
        return ""
    return "torch cannot reach it" if torch.version.cuda else f"torch {torch.__version__} is built without CUDA"


@lru_cache(maxsize=8)
def _say(message: str) -> None:
    """Once, however often the device is asked for."""
    _log.warning(message)


def why_not(device: torch.device) -> str | None:
    """Why the operators do not run on ``device``; None where they do. It is found out by running one."""
    try:
        nms(torch.zeros((1, 4), device=device), torch.zeros(1, device=device), 0.5)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        return first_line(error)
    return None
