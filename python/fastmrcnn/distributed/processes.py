"""Which process this is, and of how many."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from fastmrcnn.errors import UserError

_store: Any = None  # through which processes tell each other who failed


def join() -> None:
    """Join the processes that a launcher started with this one; nothing where it is alone or has joined already.

    Tensors of the CPU travel through gloo, those of GPUs through nccl.

    Raises:
        UserError: a group that was made before has no gloo for the CPU, through which the processes agree.
    """
    if not dist.is_available():
        return
    global _store
    if not dist.is_initialized() and launched():
        fast = torch.cuda.is_available() and dist.is_nccl_available()
        _store, own, count = next(rendezvous("env://"))
        dist.init_process_group("cpu:gloo,cuda:nccl" if fast else "gloo", store=_store, rank=own, world_size=count)
    if processes() > 1 and "cpu:" not in dist.get_backend_config():
        raise UserError(
            "init_process_group: expected a backend for the CPU too, such as 'cpu:gloo,cuda:nccl'; "
            f"got {dist.get_backend_config()!r}"
        )


def leave() -> None:
    """Part from the others when all work is done."""
    if processes() > 1:
        dist.destroy_process_group()


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ and "MASTER_ADDR" in os.environ


def processes() -> int:
    """How many have joined; 1 where this one is alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among those that have joined, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the one process that writes files and talks to the user."""
    return rank() == 0


def local_rank() -> int:
    """The number of this process among those of its machine, from 0: its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if processes() > 1 else 0


def failure_store() -> Any:
    """torch's store where processes tell each other who failed; None where somebody else made them a group."""
    return _store
