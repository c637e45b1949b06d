"""Checkpoints: everything that a run needs to go on, without any pickled code.

``DIR/checkpoints/step-00000500/`` holds ``weights.safetensors`` (a complete model, also for ``load_model``), where
weights are averaged ``average.safetensors`` (another one), ``optimizer.safetensors`` (tensors named
``<parameter>/<state>``) and ``state.json`` with the rest of :class:`~fastmrcnn.training.state.TrainState`. A folder is
written under a temporary name and renamed when complete.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fastmrcnn.errors import UserError, first_line
from fastmrcnn.files import atomic_directory, read_json, write_json
from fastmrcnn.models import MaskRCNN
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.state import TrainState
from fastmrcnn.weights import load_model, save_model
from fastmrcnn.weights.store import write_tensors

FORMAT = 2  # of state.json


def save_checkpoint(output: Path, state: TrainState, *, keep: int) -> Path:
    """Write the checkpoint of ``state``; of the older ones keep the newest ``keep`` - 1."""
    folder = output / "checkpoints" / f"step-{state.step:08d}"
    with atomic_directory(folder) as temporary:
        save_model(state.model, temporary / "weights.safetensors")
        if state.average is not None:
            save_model(state.average.model, temporary / "average.safetensors")
        name = "optimizer.safetensors"
        write_tensors(optimizer_tensors(state.model, state.optimizer), temporary / name, shown=folder / name)
        rest = {"format": FORMAT, "step": state.step, "scaler": state.scaler.state_dict()}
        write_json(temporary / "state.json", rest, indent=2)
    for older in checkpoint_folders(output)[:-keep]:
        shutil.rmtree(older)
    return folder


def checkpoint_folders(output: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    folders = (output / "checkpoints").glob("step-*")
    return sorted(folder for folder in folders if re.fullmatch(r"step-\d+", folder.name))


def load_checkpoint(folder: Path, config: TrainConfig, device: torch.device) -> TrainState:
    """The state that was saved; ``UserError`` names a missing or broken file."""
    path = folder / "state.json"
    rest = read_json(path, expected="the state of a checkpoint")
    if not isinstance(rest, dict) or rest.get("format") != FORMAT or not isinstance(rest.get("step"), int):
        raise UserError(f"{path}: expected a checkpoint of format {FORMAT}")
    state = TrainState.of(load_model(folder / "weights.safetensors", device=device), config, device)
    state.step = rest["step"]
    if state.average is not None:
        state.average.model.load_state_dict(load_model(folder / "average.safetensors").state_dict())
    if state.scaler.is_enabled() and rest.get("scaler"):
        state.scaler.load_state_dict(rest["scaler"])
    path = folder / "optimizer.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {first_line(error)}") from None
    restore_optimizer(state.model, state.optimizer, tensors, path)
    return state


def optimizer_tensors(model: MaskRCNN, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state (momentum, moments, step counts) as ``<parameter>/<state>`` -> tensor."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"{name}/{key}"] = torch.as_tensor(value).detach().contiguous()
    return tensors


def restore_optimizer(
    model: MaskRCNN, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], source: Path
) -> None:
    """Put ``tensors`` of :func:`optimizer_tensors` back; ``UserError`` when they belong to another model."""
    parameters = dict(model.named_parameters())
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or (tensor.ndim > 0 and tensor.shape != parameter.shape):
            raise UserError(f"{source}: the optimizer state {full_name!r} does not fit the model")
        # Step counts stay on the CPU, where PyTorch's optimizers keep them; moments take the parameter's memory layout.
        value = tensor if tensor.ndim == 0 else torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        optimizer.state[parameter][key] = value
