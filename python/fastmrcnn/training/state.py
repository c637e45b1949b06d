"""Everything that changes from step to step, and so everything that a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fastmrcnn import distributed
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.compiling import compile_trunk
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.ema import WeightAverage
from fastmrcnn.training.schedule import make_optimizer


@dataclass
class TrainState:
    """A model in training.

    The order of the images, their augmentation and the random numbers of a step are functions of the seed and the step
    (batches.py, step.py): of them, the number of the step is all that there is to keep.
    """

    model: MaskRCNN
    # What computes the losses: the model, which shares its gradients with the other processes where there are any.
    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    # Of the loss, so that gradients in float16 do not vanish; without effect for other precisions.
    scaler: torch.amp.GradScaler
    # None where the configuration asks for no average.
    average: WeightAverage | None
    # Finished optimizer steps.
    step: int = 0
    # Of the data set (``digest_of_images``): with others the order of the images is another. Empty: not known.
    images: str = ""

    @classmethod
    def of(cls, model: MaskRCNN, config: TrainConfig, device: torch.device) -> TrainState:
        """The state before the first step of ``model``, which is on ``device``."""
        if config.sync_bn:
            distributed.share_statistics(model)
        if config.compile:
            compile_trunk(model, device)
        return cls(
            model=model,
            network=distributed.share_gradients(model),
            optimizer=make_optimizer(model, config),
            scaler=torch.amp.GradScaler(device.type, enabled=config.precision == "fp16"),
            average=WeightAverage(model, config.ema) if config.ema else None,
        )

    @property
    def result(self) -> MaskRCNN:
        """The model to evaluate and to keep: the average where there is one."""
        return self.model if self.average is None else self.average.model
