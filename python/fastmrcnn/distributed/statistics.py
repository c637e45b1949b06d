"""The statistics of batch norms where several processes compute a batch."""

from __future__ import annotations

import torch
from torch import nn

from fastmrcnn.distributed.exchange import sum_of_processes
from fastmrcnn.distributed.processes import processes


def share_statistics(model: nn.Module) -> None:
    """Let the batch norms of ``model`` normalise by the statistics of all processes, as one with all images would.

    For GPUs torch has fused kernels, as layers of another class. On the CPU :mod:`fastmrcnn.models.slot_norm` does it,
    within a shared batch.
    """
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    if processes() > 1 and on_gpu:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)


@torch.no_grad()
def average_statistics(model: nn.Module) -> None:
    """Where batch norms keep statistics of their own process, let all have the mean of the running ones."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    running = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
    if processes() == 1 or not running:
        return
    means = sum_of_processes(torch.cat(running)) / processes()
    for value, mean in zip(running, means.split([len(value) for value in running]), strict=True):
        value.copy_(mean)
