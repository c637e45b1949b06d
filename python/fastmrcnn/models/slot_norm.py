"""Batch normalisation of regions in slots of a fixed number, of which some are empty.

What stands in an empty slot must not move the statistics of the others. In training on a GPU most slots of the mask
head are empty, and how many is not known to the host.

Statistics that processes share are computed here for the CPU, too, where torch has none.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fastmrcnn.distributed import statistics_group

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)  # as torch 2.4's compiler takes them


def normalise_filled(norm: nn.Module, x: Tensor, filled: Tensor | None) -> Tensor:
    """``norm(x)``, but batch statistics are those of the filled slots alone.

    Args:
        norm: any normalisation; those without batch statistics treat each slot by itself.
        x: [K, C, H, W]. filled: [K] bool; None: all of them.

    Returns:
        [K, C, H, W] in the dtype of ``x``; of no meaning in empty slots.
    """
    if not isinstance(norm, _BATCH_NORMS) or not norm.training or _is_for_torch(norm, x, filled):
        out: Tensor = norm(x)
        return out
    group = _group(norm)
    if filled is None:
        filled = torch.ones_like(x[:, 0, 0, 0], dtype=torch.bool)
    full = x.to(torch.promote_types(x.dtype, torch.float32))
    mean, variance, count = _statistics(full, filled[:, None, None, None], group)
    _follow(norm, mean.detach(), variance.detach(), count)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return ((full - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).to(x.dtype)


def _is_for_torch(norm: BatchNorm, x: Tensor, filled: Tensor | None) -> bool:
    """Whether torch's own training mode computes what is wanted."""
    # A single value is its own mean. torch refuses it; but it comes, where the one proposal is the object itself.
    single = x.numel() == x.shape[1]
    return filled is None and not single and (x.is_cuda or _group(norm) is None)


def _statistics(x: Tensor, filled: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel, [C], and the number of values that they are of."""
    count = (filled.sum() * (x.shape[2] * x.shape[3])).to(x.dtype)
    total = torch.where(filled, x, 0).sum(dim=(0, 2, 3))
    summed = _over_processes(torch.cat((total, count[None])), group)
    total, count = summed[:-1], summed[-1].detach()
    mean = total / count.clamp(min=1)
    squares = torch.where(filled, x - mean[:, None, None], 0).square().sum(dim=(0, 2, 3))
    return mean, _over_processes(squares, group) / count.clamp(min=1), count


@torch.no_grad()
def _follow(norm: BatchNorm, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """The running statistics take a step towards those of the batch, unless it is empty."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    step = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    step = step * (count > 0).to(mean.dtype)
    unbiased = variance * count / (count - 1).clamp(min=1)
    for running, own in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.lerp_(own.to(running.dtype), step.to(running.dtype))


def _group(norm: nn.Module) -> dist.ProcessGroup | None:
    """The processes that share their statistics; None where this one is alone."""
    if not isinstance(norm, nn.SyncBatchNorm):
        return statistics_group()
    if not (dist.is_available() and dist.is_initialized()):
        return None
    group = norm.process_group or dist.group.WORLD
    return group if dist.get_world_size(group) > 1 else None


def _over_processes(summands: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The sum over the processes, through which gradients flow back to all of them."""
    if group is None:
        return summands
    total: Tensor = _AllReduce.apply(summands, group)  # type: ignore[no-untyped-call]
    return total


class _AllReduce(torch.autograd.Function):
    """Every process depends on every summand, so that gradients are summed like values."""

    @staticmethod
    def forward(ctx: Any, summands: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = summands.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None
