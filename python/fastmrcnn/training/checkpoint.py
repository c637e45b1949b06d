"""Checkpoints: everything that a run needs to go on, without any pickled code.

``DIR/checkpoints/step-00000500/`` holds ``weights.safetensors`` (a complete model, also for ``load_model``),
``optimizer.safetensors`` (tensors named ``<parameter>/<state>``) and ``state.json``. The order of the images, their
augmentation and the random numbers of a step are functions of the seed and the step (batches.py, loop.py), so the step
is all that has to be remembered of them. A folder is written under a temporary name and renamed when complete.
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
from fastmrcnn.weights import load_model, save_model
from fastmrcnn.weights.store import write_tensors

FORMAT = 1  # of state.json


def save_checkpoint(
    output: Path,
    model: MaskRCNN,
    optimizer: torch.optim.Optimizer,
    step: int,
    *,
    keep: int,
) -> Path:
    """Write the checkpoint of ``step`` finished steps; of the older ones keep the newest ``keep`` - 1."""
    folder = output / "checkpoints" / f"step-{step:08d}"
    with atomic_directory(folder) as temporary:
        save_model(model, temporary / "weights.safetensors")
        name = "optimizer.safetensors"
        write_tensors(optimizer_tensors(model, optimizer), temporary / name, shown=folder / name)
        write_json(temporary / "state.json", {"format": FORMAT, "step": step}, indent=2)
    for older in checkpoint_folders(output)[:-keep]:
        shutil.rmtree(older)
    return folder


def checkpoint_folders(output: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    folders = (output / "checkpoints").glob("step-*")
    return sorted(folder for folder in folders if re.fullmatch(r"step-\d+", folder.name))


def load_checkpoint(folder: Path, device: torch.device) -> tuple[MaskRCNN, dict[str, torch.Tensor], int]:
    """Model, optimizer tensors (CPU) and number of finished steps; ``UserError`` names a missing or broken file."""
    state = read_json(folder / "state.json", expected="the state of a checkpoint")
    if not isinstance(state, dict) or state.get("format") != FORMAT or not isinstance(state.get("step"), int):
        raise UserError(f"{folder / 'state.json'}: expected a checkpoint of format {FORMAT}")
    model = load_model(folder / "weights.safetensors", device=device)
    path = folder / "optimizer.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {first_line(error)}") from None
    return model, tensors, state["step"]


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
