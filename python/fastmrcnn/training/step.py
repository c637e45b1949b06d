"""One optimizer step: losses, gradient, update."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.data.loader import Batch
from fastmrcnn.data.seeds import derived_seed
from fastmrcnn.distributed import (
    average_statistics,
    gradients_shared,
    processes,
    rank,
    shared_batch,
    sum_of_processes,
)
from fastmrcnn.errors import UserError
from fastmrcnn.models.blocks import full_precision
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.state import TrainState

AUTOCAST = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SCALE = 2.0**-14  # of float16 losses; below it their gradients are lost, and something else is wrong
_OF_THE_LOSSES = 1  # tells these seeds from those of the augmentation, which are functions of three numbers, too


_log = logging.getLogger(__name__)


class NotFiniteError(Exception):
    """A loss or the gradient of a step is no number; the weights are those from before the step.

    Attributes:
        values: the row of the step, by name.
    """

    def __init__(self, values: dict[str, float]) -> None:
        self.values = values
        super().__init__(", ".join(f"{name}={value}" for name, value in values.items() if not math.isfinite(value)))


def take_step(state: TrainState, parts: Sequence[Batch], config: TrainConfig, rate: float) -> dict[str, float]:
    """Update the weights once, with the mean gradient of ``parts``, which together are the batch of the step.

    Where there are several processes, each has its own images of every part. All of them get the same gradient, that of
    one process with all the images, and the same row.

    Returns:
        ``loss``, each of the losses that it is the sum of, and ``gradient_norm``, that before clipping.

    Raises:
        NotFiniteError: before the weights have changed.
    """
    state.model.train()
    state.optimizer.zero_grad(set_to_none=True)
    losses = []
    for number, part in enumerate(parts):
        with gradients_shared(state.network, now=number == len(parts) - 1), shared_batch(statistics=config.sync_bn):
            drawn_by = image_seeds(state, part, number, config)
            losses.append(backward(state, part, config, share=1 / len(parts), seeds=drawn_by))
    state.scaler.unscale_(state.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.gradient_clip or math.inf)
    row = _as_numbers(losses, norm)
    _require_finite(row, state.scaler)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if not config.sync_bn:
        average_statistics(state.model)
    state.step += 1
    if state.average is not None:
        state.average.update(state.model, state.step)
    return row


def image_seeds(state: TrainState, part: Batch, number: int, config: TrainConfig) -> list[int]:
    """What is drawn at random for an image of part ``number`` follows from the step and its place in the batch."""
    images = len(part[0])
    first = (number * processes() + rank()) * images
    return [derived_seed(config.seed, state.step, place, _OF_THE_LOSSES) for place in range(first, first + images)]


def backward(
    state: TrainState, part: Batch, config: TrainConfig, share: float, seeds: Sequence[int]
) -> dict[str, Tensor]:
    """Add ``share`` of the gradient of a part to the parameters'; that share of each loss."""
    images, targets, _ = part
    device = state.model.transform.mean.device.type
    precision = AUTOCAST[config.precision]
    with torch.autocast(device, dtype=precision, enabled=precision != torch.float32):
        losses = state.network(images, targets, seeds)  # checks both where they are, then brings them to its device
    shares = {name: full_precision(value) * share for name, value in losses.items()}
    state.scaler.scale(torch.stack(list(shares.values())).sum()).backward()
    return {name: value.detach() for name, value in shares.items()}


def _as_numbers(losses: Sequence[dict[str, Tensor]], norm: Tensor) -> dict[str, float]:
    """The losses summed over parts and processes, their total and the gradient's norm; waits for a GPU once."""
    own = [torch.stack([part[name] for part in losses]).sum() for name in losses[0]]
    sums = sum_of_processes(torch.stack(own))
    values = torch.cat((sums.sum()[None], sums, norm[None])).tolist()
    return dict(zip(["loss", *losses[0], "gradient_norm"], values, strict=True))


def warn_of_slow_float16(config: TrainConfig, device: torch.device) -> None:
    """Say it before the first step: of a ResNet-50, one may take minutes."""
    if config.precision == "fp16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        _log.warning("precision fp16: this processor has no instructions for it; fp32 takes a small part of the time")


def _require_finite(row: dict[str, float], scaler: torch.amp.GradScaler) -> None:
    """Stop before a NaN reaches the weights.

    In float16 a gradient may overflow now and then: the scaler leaves that step out and scales the next ones less.
    """
    checked = {name: value for name, value in row.items() if not (scaler.is_enabled() and name == "gradient_norm")}
    if not all(math.isfinite(value) for value in checked.values()):
        raise NotFiniteError(row)
    if scaler.is_enabled() and scaler.get_scale() < SMALLEST_SCALE:
        raise UserError("precision fp16: the gradient overflows at every scale of the loss; train in bf16 or fp32")
