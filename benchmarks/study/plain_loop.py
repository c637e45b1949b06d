"""A training loop in one page, for what ``fastmrcnn.training.train`` does not train: torchvision's model, and parts.

Its batches, its learning rate and its optimizer are those of ``train``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.study.data import open_scenes
from fastmrcnn.evaluation import EvaluationResult, evaluate
from fastmrcnn.files import finite
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.batches import training_loader
from fastmrcnn.training.samplers import derived_seed, image_order
from fastmrcnn.training.schedule import learning_rate, make_optimizer

Losses = Callable[[list[Tensor], list[Any]], dict[str, Tensor]]


@dataclass(frozen=True)
class Fitted:
    """What a run gives: the measurement at its end, and rows as in metrics.jsonl."""

    evaluation: EvaluationResult | None
    metrics: list[dict[str, Any]]
    seconds: float  # of all, evaluations included
    images_per_second: float  # of the steps alone


def fit_plainly(network: nn.Module, losses_of: Losses, predictor: Any, config: TrainConfig) -> Fitted:
    """Minimise the sum of the losses over ``network``'s trainable parameters, on the schedule of ``config``.

    predictor: what is measured, with the ``config`` of a MaskRCNN and its ``predict``.
    """
    assert config.steps is not None
    train_data, val_data = (
        open_scenes(path.parent) for path in (config.train_annotations, config.eval_annotations) if path
    )
    start, in_steps = time.monotonic(), 0.0
    rows: list[dict[str, Any]] = []
    evaluation = None
    optimizer = make_optimizer(network, config)
    order = image_order(train_data, config)
    batches = iter(training_loader(train_data, config, predictor.config.input, order, first_step=0))
    for step in range(config.steps):
        step_start = time.monotonic()
        images, targets, _ = next(batches)
        torch.manual_seed(derived_seed(config.seed, step))  # of the sampling of anchors and RoIs
        network.train()
        losses = losses_of(images, targets)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.steps, config)
        optimizer.step()
        values = {name: value.item() for name, value in losses.items()}
        rows.append({"step": step + 1, "loss": total.item()} | values)
        in_steps += time.monotonic() - step_start
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            evaluation = evaluate(predictor, val_data, batch_size=config.batch_size)
            figures = {name: getattr(evaluation, name) for name in ("box_ap", "mask_ap", "mask_ap50")}
            rows.append({"step": step + 1} | finite(figures))
    return Fitted(evaluation, rows, time.monotonic() - start, config.steps * config.batch_size / in_steps)
