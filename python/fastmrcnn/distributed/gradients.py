"""Gradients that are summed over the processes while they are computed."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fastmrcnn.distributed.processes import processes
from fastmrcnn.errors import UserError


def share_gradients(model: nn.Module) -> nn.Module:
    """``model`` to call in its place: the processes get its weights from the first one, and after a backward pass every
    gradient is the sum over all of them; the model itself where this process is alone.

    Every backward pass has to reach every parameter that is trained.

    Raises:
        UserError: layers that torch has for GPUs alone.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if processes() == 1 or not trained:
        return model
    if not trained[0].is_cuda and any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        raise UserError(
            "norm: torch has sync_bn for GPUs alone; expected bn, whose statistics processes on the CPU share, too"
        )
    # Buffers are the same everywhere: statistics by share_statistics or average_statistics, others never change.
    known = inspect.signature(DistributedDataParallel).parameters
    option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before torch 2.15
    options: dict[str, Any] = {option: False}
    shared = DistributedDataParallel(model, **options)
    # A lambda: torch reads the annotations of a hook, and those here are text.
    shared.register_comm_hook(None, lambda _, bucket: _sum_bucket(bucket))
    return shared


@contextmanager
def gradients_shared(model: nn.Module, *, now: bool) -> Iterator[None]:
    """Around forward and backward pass: ``now=False`` leaves the gradients to be summed by a later pass."""
    if not isinstance(model, DistributedDataParallel):
        yield
    elif now:
        with warnings.catch_warnings():
            # A 1x1 kernel lies the same way in both layouts: torch compares strides, and tells the user of no error.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield
    else:
        with model.no_sync():
            yield


def _sum_bucket(bucket: Any) -> torch.futures.Future[Tensor]:
    """The sum of some gradients over the processes (torch's own hook: the mean). bucket: a ``GradBucket``."""
    gradients = bucket.buffer()
    if gradients.device.type == "cpu":
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(ordered_sum(gradients))
        return done
    work = dist.all_reduce(gradients, async_op=True)
    assert work is not None
    future: torch.futures.Future[Tensor] = work.get_future().then(lambda added: added.value()[0])
    return future


def ordered_sum(summands: Tensor) -> Tensor:
    """The sum over the processes in the order of their ranks: [N] -> [N].

    gloo's own adds each number in an order that depends on its place, and where DDP puts a gradient changes after the
    first step: a resumed run would differ from one that never stopped by rounding. It moves as many bytes as this does.
    """
    count, length = processes(), summands.shape[0]
    share = -(-length // count)
    padded = nn.functional.pad(summands, (0, share * count - length))
    received = torch.empty_like(padded)
    dist.all_to_all_single(received, padded)
    first, *others = received.split(share)
    for other in others:
        first = first + other
    dist.all_gather(list(padded.split(share)), first)
    return padded[:length]
