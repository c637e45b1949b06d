"""One process fails, and so the run: its error is told once, and the others end."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import torch.distributed as dist

from fastmrcnn.distributed.processes import failure_store, processes

LONGEST_WAIT = 20.0  # seconds, for a failed process to end its workers
_FAILED = "fastmrcnn/failed"  # how many have failed, in the store of the processes


class OtherProcessFailedError(Exception):
    """Another process of the run has failed, and says why; this one can only end."""


def is_first_to_fail() -> bool:
    """Whether no process has failed before this one, so that it is the one to say why. To be asked once."""
    store = failure_store()
    if processes() == 1 or store is None:
        return True
    try:
        return int(store.add(_FAILED, 1)) == 1
    except RuntimeError:  # whoever kept the numbers is gone
        return True


def wait_for_reason() -> None:
    """Return when another process is saying why it failed: a launcher ends all when the first one ends."""
    store = failure_store()
    if store is not None:
        with suppress(RuntimeError):  # that process is gone, or took too long
            store.wait([_FAILED], timedelta(seconds=LONGEST_WAIT))


def is_lost_process(error: BaseException) -> bool:
    """Whether ``error`` says no more than that another process has gone away."""
    from_backend = isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL"))
    return processes() > 1 and isinstance(error, RuntimeError) and from_backend
