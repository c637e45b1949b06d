"""A batch that several processes compute the losses of, each those of its own images.

Within :func:`shared_batch` the losses of a model are divided by what was sampled in all images of the batch, and images
are padded to a common size: the losses of all processes then add up to those of one process with all the images, and so
do their gradients. Elsewhere a model knows nothing of other processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch import Tensor

from fastmrcnn.distributed.exchange import greatest_of_processes, sum_of_processes
from fastmrcnn.distributed.processes import processes

_shared = False
_statistics_shared = False


@contextmanager
def shared_batch(*, statistics: bool = True) -> Iterator[None]:
    """Within, what models are given are parts of one batch; every process has to compute its losses.

    statistics: batch norms, too, have those of all images.

    >>> with shared_batch():  # doctest: +SKIP
    ...     losses = model(images, targets)
    """
    global _shared, _statistics_shared
    before = _shared, _statistics_shared
    _shared, _statistics_shared = processes() > 1, statistics and processes() > 1
    try:
        yield
    finally:
        _shared, _statistics_shared = before


def batch_sum(summand: Tensor) -> Tensor:
    """The sum over the processes that share a batch; no GPU is waited for where nccl adds."""
    return sum_of_processes(summand) if _shared else summand


def batch_greatest(*numbers: int) -> tuple[int, ...]:
    """The greatest of each of ``numbers`` in the processes that share a batch."""
    return greatest_of_processes(numbers) if _shared else numbers


def statistics_group() -> dist.ProcessGroup | None:
    """The processes whose batch norms share their statistics; None where each has its own."""
    return dist.group.WORLD if _statistics_shared else None
