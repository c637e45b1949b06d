"""The learning rate of each step, and the parameters that weight decay applies to: pure functions."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastmrcnn.training.config import TrainConfig

WARMUP_START = 1e-3  # fraction of the peak at step 0, the usual choice of Mask R-CNN schedules
# Smith and Topin 2018, "Super-convergence", with the usual fractions: the peak comes late and both ends lie deep.
ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 1 / 25, 1e-4 / 25


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Learning rate of optimizer step ``step`` in 0 .. ``total_steps`` - 1.

    ``steps`` and ``cosine``: linear warm-up to the peak, times the decay (cosine: Loshchilov and Hutter, SGDR, without
    restarts). ``onecycle``: half a cosine up to the peak, over 30% of the run or the warm-up where that is longer,
    and half a cosine down to nearly nothing.
    """
    rate = config.learning_rate
    if config.schedule == "onecycle":
        return rate * _one_cycle(step, total_steps, config.warmup_steps)
    warmup = min(config.warmup_steps, total_steps // 2)
    if step < warmup:
        rate *= WARMUP_START + (1 - WARMUP_START) * step / warmup
    if config.schedule == "cosine":
        progress = max(0, step - warmup) / max(1, total_steps - warmup)
        return rate * 0.5 * (1 + math.cos(math.pi * progress))
    passed = sum(step >= milestone * total_steps for milestone in config.lr_milestones)
    return rate * float(config.lr_decay**passed)


def _one_cycle(step: int, total_steps: int, warmup_steps: int) -> float:
    """Fraction of the peak."""
    last = max(total_steps - 1, 1)
    peak = max(ONE_CYCLE_RISE * last, min(warmup_steps, last / 2))
    if step < peak:
        return _between(ONE_CYCLE_START, 1.0, step / peak)
    return _between(1.0, ONE_CYCLE_END, (step - peak) / (last - peak))


def _between(first: float, second: float, progress: float) -> float:
    """From ``first`` (progress 0) to ``second`` (1) along half a cosine."""
    return second + (first - second) * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: weights with decay; biases and normalisation parameters without."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def make_optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that ``config`` names over ``model``'s trainable parameters."""
    groups = parameter_groups(model, config.weight_decay)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
