"""The library's own weights files: safetensors with the model's configuration as JSON in the metadata.

Nothing in such a file is executed when it is read, and it describes its model completely, class names included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fastmrcnn.errors import UserError, first_line
from fastmrcnn.files import apply_default_mode, atomic_path
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.models.transform import InputTransform
from fastmrcnn.weights.uninitialised import WithoutInitialisation

FORMAT = "fastmrcnn"
FORMAT_VERSION = "1"
_COUNTER = "num_batches_tracked"  # of a batch normalisation, in the names of every family: the only whole number
_A_NAME_OF_OURS = "rpn.head.objectness.weight"  # every network has it, and no other software


def save_model(model: MaskRCNN, path: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
    """Write a model, its weights and its configuration, to one safetensors file.

    Args:
        path: conventionally ends in ``.safetensors``; replaced atomically where it exists.
        dtype: store the kernels of convolutions and linear layers in this type, for example ``torch.float16`` for half
            the size. Biases and normalisation statistics, a thousandth of the size, keep theirs.

    Raises:
        UserError: ``path`` cannot be written. ValueError: a weight does not fit ``dtype``.

    >>> save_model(model, "coins.safetensors")  # doctest: +SKIP
    >>> load_model("coins.safetensors").predict("tray.jpg")  # doctest: +SKIP
    """
    tensors = {name: _stored(name, tensor, dtype) for name, tensor in model.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": json.dumps(model.config.to_dict()),
    }
    with atomic_path(path, durable=True) as temporary:
        write_tensors(tensors, temporary, metadata, shown=Path(path))


def write_tensors(
    tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None, *, shown: Path
) -> None:
    """Write a safetensors file to ``path``; a full disk is a UserError that names the file ``shown``."""
    try:
        save_file(tensors, path, metadata)
        if metadata:
            _sort_metadata(path)
        apply_default_mode(path, 0o666)  # newer versions of safetensors make files that their owner alone can read
    except (OSError, SafetensorError) as error:
        raise UserError(f"{shown}: cannot be written: {first_line(error)}") from None


def _sort_metadata(path: Path) -> None:
    """Let equal models be equal files: safetensors writes the metadata in another order every time."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length)
        if len(ordered) == length:  # or else the tensors would have to move
            stream.seek(8)
            stream.write(ordered)


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if dtype is None or tensor.ndim < 2:
        return tensor
    narrowed = tensor.to(dtype)
    if not torch.equal(narrowed.isfinite(), tensor.isfinite()):
        raise ValueError(f"save_model: {name} must fit {dtype}; its largest value is {tensor.abs().max():g}")
    return narrowed


def is_own_state(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bool:
    """Are these a file's tensors and metadata that :func:`save_model` wrote, or at least the tensors of one?"""
    return metadata.get("format") == FORMAT or _A_NAME_OF_OURS in tensors


def from_own(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], source: str) -> MaskRCNN:
    """The model in a file of :func:`save_model`, on the CPU in evaluation mode; UserError where it is damaged."""
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise UserError(f"{source}: expected the metadata that fastmrcnn.save_model writes; they name no such format")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"{source}: expected format version {FORMAT_VERSION} of fastmrcnn's models; got {version}")
    try:
        config = MaskRCNNConfig.from_dict(json.loads(metadata["config"]))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: expected a valid model configuration in the metadata: {error}") from None
    return build_model(config, tensors, source)


def build_model(
    config: MaskRCNNConfig,
    tensors: Mapping[str, Tensor],
    source: str,
    *,
    stored_name: Callable[[str], str] = lambda name: name,
) -> MaskRCNN:
    """A model with the given weights, on the CPU in evaluation mode.

    Weights of a narrower floating-point type become float32. ``stored_name`` gives the name in ``tensors`` of each of
    the model's own; ``source`` names the weights in the UserError that is raised where they do not fit.
    """
    model = _without_memory(config, source)
    # Before anything is allocated: the sizes in a damaged configuration may be beyond any memory.
    check_tensors({stored_name(name): tensor.shape for name, tensor in model.state_dict().items()}, tensors, source)
    model = _with_memory(model)
    model.load_state_dict({name: tensors[stored_name(name)] for name in model.state_dict()})
    return model.eval()


def new_model(config: MaskRCNNConfig) -> MaskRCNN:
    """A model for weights that there are already: its own have no values yet. Nothing is drawn at random."""
    return _with_memory(_without_memory(config))


def shapes_of(config: MaskRCNNConfig, source: str = "MaskRCNNConfig") -> dict[str, torch.Size]:
    """The tensors in the state of a model of that configuration, found without its memory or random numbers.

    UserError that names ``source`` where no tensor can have the sizes.
    """
    return {name: tensor.shape for name, tensor in _without_memory(config, source).state_dict().items()}


def _without_memory(config: MaskRCNNConfig, source: str = "MaskRCNNConfig") -> MaskRCNN:
    """A model of that configuration on the meta device; the error of :func:`shapes_of`."""
    try:
        with torch.device("meta"), WithoutInitialisation():
            return MaskRCNN(config)
    except (RuntimeError, TypeError) as error:  # beyond 2^63 bytes or elements
        raise UserError(f"{source}: expected sizes that tensors can have: {first_line(error)}") from None


def _with_memory(model: MaskRCNN) -> MaskRCNN:
    """A model of the meta device on torch's default device, where what a state_dict holds has no values yet."""
    device = torch.get_default_device()
    # As `to_empty` does it, but for `empty_like`, which imports torch's symbolic shapes here, half a second.
    model._apply(lambda tensor: torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device))
    model.transform = InputTransform(model.config.input)  # whose constants no state_dict holds
    return model


def check_tensors(expected: Mapping[str, torch.Size], found: Mapping[str, Tensor], source: str) -> None:
    """UserError naming the first tensor that is missing, unknown, of another shape or not of real numbers."""
    for name, shape in expected.items():
        if name not in found:
            missing = sum(1 for key in expected if key not in found)
            raise UserError(f"{source}: expected a tensor {name!r} {list(shape)}; it is missing ({missing} in all)")
        if found[name].shape != shape:
            raise UserError(f"{source}: expected {name!r} to be {list(shape)}; found {list(found[name].shape)}")
        if not (found[name].is_floating_point() or name.endswith(_COUNTER)):
            raise UserError(f"{source}: expected floating-point numbers in {name!r}; found {found[name].dtype}")
    extra = [name for name in found if name not in expected]
    if extra:
        shape = found[extra[0]].shape
        raise UserError(
            f"{source}: expected no tensor {extra[0]!r}, the configured model has none of that name; "
            f"found {list(shape)} ({len(extra)} in all)"
        )
