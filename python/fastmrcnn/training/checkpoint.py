"""Checkpoints: everything that a run needs to go on, without any pickled code.

``DIR/checkpoints/step-00000500/`` holds ``weights.safetensors`` (a complete model, also for ``load_model``), where
weights are averaged ``average.safetensors`` (another one), ``optimizer.safetensors`` (tensors named
``<parameter>/<state>``) and ``state.json`` with the rest of :class:`~fastmrcnn.training.state.TrainState`, a checksum
of each other file and one of itself. A folder is written under a temporary name and renamed when all of it is on the
disk, and older ones go only then: a full disk or a lost machine leaves the finished ones.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fastmrcnn.errors import UserError, first_line
from fastmrcnn.files import atomic_directory, read_json, remove_directory, write_json
from fastmrcnn.models import MaskRCNN
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.state import TrainState
from fastmrcnn.weights import load_model, save_model
from fastmrcnn.weights.store import write_tensors

FORMAT = 4  # of state.json

_log = logging.getLogger(__name__)


def save_checkpoint(output: Path, state: TrainState, *, keep: int) -> Path:
    """Write the checkpoint of ``state``; of the older ones keep the newest ``keep`` - 1."""
    folder = output / "checkpoints" / _folder_name(state.step)
    try:
        with atomic_directory(folder, durable=True) as temporary:
            _write(state, temporary)
    except UserError as error:
        raise UserError(f"{folder}: {str(error).partition(': ')[2]}; {_what_is_left(output)}") from None
    _remove_all_but(folder, output, keep)
    return folder


def save_result(state: TrainState, path: Path) -> None:
    """Write the model to keep as ``path``, a file in the folder of the run."""
    try:
        save_model(state.result, path)
    except UserError as error:
        raise UserError(f"{error}; {_what_is_left(path.parent)}") from None


def _what_is_left(output: Path) -> str:
    """What a run has that could not write a file, and how to go on."""
    found = checkpoint_folders(output)
    if not found:
        return "no checkpoint was finished yet"
    return (
        f"the newest finished checkpoint is {found[-1]}; when it can, continue with: fastmrcnn train --resume {output}"
    )


def _write(state: TrainState, folder: Path) -> None:
    save_model(state.model, folder / "weights.safetensors")
    if state.average is not None:
        save_model(state.average.model, folder / "average.safetensors")
    path = folder / "optimizer.safetensors"
    write_tensors(optimizer_tensors(state.model, state.optimizer), path, shown=path)
    files = {path.name: _checksum(path) for path in sorted(folder.iterdir())}
    rest = {
        "format": FORMAT,
        "step": state.step,
        "images": state.images,
        "scaler": state.scaler.state_dict(),
        "files": files,
    }
    write_json(folder / "state.json", rest | {"crc32": _own_checksum(rest)}, indent=2)


def _remove_all_but(newest: Path, output: Path, keep: int) -> None:
    """Remove all but the newest ``keep``. Those beyond ``newest`` are damaged ones, which were skipped."""
    folders = checkpoint_folders(output)
    last = folders.index(newest)
    for folder in folders[: max(0, last + 1 - keep)] + folders[last + 1 :]:
        try:
            remove_directory(folder)
        except (OSError, UserError) as error:  # the new one is safe: no reason to end the run
            _log.warning("%s: an old checkpoint cannot be removed: %s", folder, first_line(error))


def checkpoint_folders(output: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    folders = (output / "checkpoints").glob("step-*")
    return sorted(folder for folder in folders if re.fullmatch(r"step-\d+", folder.name))


def load_newest(output: Path, config: TrainConfig, device: torch.device) -> TrainState | None:
    """The state in the newest checkpoint that can be read, with a warning for each that cannot; None without any
    checkpoint.

    ``UserError`` where there are checkpoints and none can be read.
    """
    problems: list[str] = []
    for folder in reversed(checkpoint_folders(output)):
        try:
            state = load_checkpoint(folder, config, device)
        except UserError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            _log.warning("skipped a damaged checkpoint: %s; continuing from step %d", problem, state.step)
        return state
    if problems:
        raise UserError(f"{output}: expected a checkpoint that can be read; {problems[0]}")
    return None


def load_checkpoint(folder: Path, config: TrainConfig, device: torch.device) -> TrainState:
    """The state that was saved; ``UserError`` names a missing or damaged file."""
    rest = _read_rest(folder)
    for name, expected in rest["files"].items():
        found = _checksum(folder / name)
        if found != expected:
            same_size = isinstance(expected, dict) and found["bytes"] == expected.get("bytes")
            difference = "content" if same_size else "size"
            raise UserError(f"{folder / name}: expected the file of the checkpoint; its {difference} is another")
    state = TrainState.of(load_model(folder / "weights.safetensors", device=device), config, device)
    state.step, state.images = rest["step"], rest.get("images", "")
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


def _read_rest(folder: Path) -> dict[str, Any]:
    """``state.json`` as it was written, for this folder."""
    path = folder / "state.json"
    rest = read_json(path, expected="the state of a checkpoint")
    types = {"format": int, "step": int, "files": dict}
    if not isinstance(rest, dict) or not all(isinstance(rest.get(name), kind) for name, kind in types.items()):
        raise UserError(f"{path}: expected the state of a checkpoint; {', '.join(types)} are not all there")
    if rest["format"] != FORMAT:
        raise UserError(f"{path}: expected a checkpoint of format {FORMAT}; got {rest['format']}")
    if rest.pop("crc32", None) != _own_checksum(rest):
        raise UserError(f"{path}: expected the state of a checkpoint as it was written; its content is another")
    if folder.name != _folder_name(rest["step"]):
        raise UserError(f"{path}: expected the state of {folder.name}; got that of step {rest['step']}")
    return rest


def _folder_name(step: int) -> str:
    return f"step-{step:08d}"


def _own_checksum(rest: dict[str, Any]) -> int:
    """CRC-32 of what ``state.json`` says, however it is laid out."""
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def _checksum(path: Path) -> dict[str, int]:
    """Size and CRC-32 of a file, which tell accidents: a cut, a lost block, a flipped bit."""
    size = checksum = 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                size, checksum = size + len(block), zlib.crc32(block, checksum)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return {"bytes": size, "crc32": checksum}


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
