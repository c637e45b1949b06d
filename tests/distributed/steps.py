"""One training step of a small model: run by the tests in their own process, and by torchrun in two.

``python steps.py SCENES OUTPUT`` writes what each case of :data:`CASES` gives.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path
from typing import Any

import torch

from fastmrcnn import distributed
from fastmrcnn.data import CocoDataset
from fastmrcnn.models import MaskRCNN, presets
from fastmrcnn.models.config.backbone import Norm
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.batches import training_loader
from fastmrcnn.training.samplers import image_order
from fastmrcnn.training.state import TrainState
from fastmrcnn.training.step import take_step

CPU = torch.device("cpu")

# Options of the run, the type of the weights, and the normalisation: where there are few pixels, rounding changes the
# statistics of "bn" so much that rectifiers switch.
CASES: dict[str, tuple[dict[str, Any], torch.dtype, Norm]] = {
    "float64": ({}, torch.float64, "bn"),
    "float64 in two parts": ({"accumulate": 2, "gradient_clip": 0.1}, torch.float64, "bn"),
    "float32": ({"ema": 0.9}, torch.float32, "gn"),
    "own statistics": ({"sync_bn": False, "ema": 0.9}, torch.float32, "bn"),
}


def config_of(scenes: Path, **changes: Any) -> TrainConfig:
    defaults = {"batch_size": 4, "steps": 3, "workers": 0, "device": "cpu", "weight_decay": 0.0, "warmup_steps": 0}
    return TrainConfig(scenes / "annotations.json", scenes / "images", **(defaults | changes))


def step_of(scenes: Path, case: str) -> dict[str, Any]:
    """The row, the gradients and the new weights of the second step, which shows images of unequal sizes."""
    changes, dtype, norm = CASES[case]
    config = config_of(scenes, **changes)
    dataset = CocoDataset(scenes / "annotations.json", scenes / "images")
    torch.manual_seed(0)
    preset = presets.tiny(dataset.class_names, dataset.category_ids)
    assert preset.mask_head is not None
    network = dataclasses.replace(
        preset,
        input=dataclasses.replace(preset.input, min_size=64, train_min_sizes=(56, 64, 80), max_size=128),
        backbone=dataclasses.replace(preset.backbone, norm=norm),
        # Others are float32 at any precision of the boxes, which would hide what a test in float64 is to show.
        mask_head=dataclasses.replace(preset.mask_head, binary_targets=True),
    )
    model = MaskRCNN(network).to(dtype)
    state = TrainState.of(model, config, CPU)
    order = image_order(dataset, config)
    loader = training_loader(dataset, config, network.input, order, first_step=1)
    parts = list(itertools.islice(loader, config.accumulate))
    row = take_step(state, parts, config, rate=0.1)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {
        "row": row,
        "gradients": {name: parameter.grad for name, parameter in trained.items()},
        "weights": {name: value.detach() for name, value in state.result.state_dict().items()},
    }


if __name__ == "__main__":
    scenes, output = map(Path, sys.argv[1:])
    distributed.join()
    torch.save({case: step_of(scenes, case) for case in CASES}, output / f"{distributed.rank()}.pt")
