"""The state that a run begins with: that of a new model, or of the newest checkpoint of its folder."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from fastmrcnn import distributed
from fastmrcnn.data import InstanceDataset
from fastmrcnn.errors import UserError
from fastmrcnn.files import read_json
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.training.checkpoint import checkpoint_folders, load_newest
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.start import starting_model
from fastmrcnn.training.state import TrainState

_log = logging.getLogger(__name__)

# What a checkpoint has settled: a resumed run cannot have another.
SETTLED = (
    "weights",
    "model",
    "backbone",
    "channels",
    "white_level",
    "norm",
    "frozen_stages",
    "frozen_statistics",
    "min_size",
    "max_size",
    "train_min_sizes",
    "anchor_scale",
    "anchor_ratios",
    "optimizer",
    "ema",
)


def new_state(config: TrainConfig, data: InstanceDataset, device: torch.device) -> TrainState:
    """The state before the first step; ``UserError`` where the folder of ``config`` holds a run."""
    if config.output is not None and config.output.is_file():
        raise UserError(f"{config.output}: expected a folder to write to; this is a file")
    if config.output is not None and checkpoint_folders(config.output):
        raise UserError(f"{config.output}: already holds a run; name another output, or resume this one")
    state = TrainState.of(starting_model(config, data, device), config, device)
    state.images = data.digest_of_images()
    return state


def resumed_state(config: TrainConfig, data: InstanceDataset, device: torch.device, *, total_steps: int) -> TrainState:
    """The state in the newest checkpoint that can be read, of the run in the folder of ``config``.

    Raises:
        UserError: there is no run, none of its checkpoints can be read, or ``config`` and ``data`` contradict it.
    """
    output = config.output
    if output is None:
        raise UserError("resume needs the folder of a run; got no output")
    if not (output / "config.json").exists():
        raise UserError(f"{output}: expected a run to resume; there is no config.json in it")
    _check_options(config, output)
    state = load_newest(output, config, device)
    if state is None:
        _log.warning("%s: no checkpoint was written yet; training starts from the beginning", output)
        return new_state(config, data, device)
    _check_categories(config, output, state.model, data)
    if state.step > total_steps:
        raise UserError(
            f"{output}: has {state.step} finished steps already; expected a longer run to resume "
            f"than one of {total_steps} steps"
        )
    _note_images(config, state, data)
    return state


def _check_options(config: TrainConfig, output: Path) -> None:
    """``UserError`` where ``config`` contradicts the run in ``output``."""
    saved = TrainConfig.from_dict(
        read_json(output / "config.json", expected="the configuration of a run"), source=str(output / "config.json")
    )
    for name in SETTLED:
        before, now = getattr(saved, name), getattr(config, name)
        if now != before:
            raise UserError(f"{name} cannot change when a run is resumed: {output} has {before!r}; got {now!r}")


def _check_categories(config: TrainConfig, output: Path, model: MaskRCNN, data: InstanceDataset) -> None:
    """``UserError`` where ``data`` has other classes than the ``model`` of the run in ``output``."""
    before, now = _categories(model.config), _categories(data)
    if now != before:
        raise UserError(f"{config.train_annotations}: expected the categories of {output}: {before}; got {now}")


def _note_images(config: TrainConfig, state: TrainState, data: InstanceDataset) -> None:
    """Say so where the images of ``data`` are not those that ``state`` was trained on, and go on with them."""
    before, now = state.images, data.digest_of_images()
    if before not in ("", now) and distributed.is_first():
        _log.warning(
            "%s: the images, their order or their sizes are not those of the first %d steps; training goes on with "
            "the %d that there are now, and differs from a run that never stopped",
            config.train_annotations,
            state.step,
            len(data),
        )
    state.images = now


def _categories(known: MaskRCNNConfig | InstanceDataset) -> str:
    """``ball (1), star (2)``: the names in the order of the labels, with their ids."""
    return ", ".join(f"{name} ({number})" for name, number in zip(known.class_names, known.category_ids, strict=True))
