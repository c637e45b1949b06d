"""The tensors of a weights file, whatever holds them: safetensors, an archive of torch, a pickle or HDF5.

What holds the tensors is told by the first bytes of a file, never by its suffix; whose tensors they are, by their names
(:mod:`fastmrcnn.weights.families`). Nothing that a file contains is executed.
"""

from __future__ import annotations

import pickle
import re
import zipfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fastmrcnn.errors import UserError, first_line
from fastmrcnn.files import atomic_path
from fastmrcnn.weights.keras_h5 import SIGNATURE, read_h5
from fastmrcnn.weights.limits import most_bytes
from fastmrcnn.weights.pickles import read_pickle
from fastmrcnn.weights.store import write_tensors

__all__ = ["Content", "read_content", "write_content"]

EXPECTED = "a weights file (safetensors, .pth, .pkl or .h5)"
_ARCHIVE = b"PK\x03\x04"
_TORCH_BEFORE_1_6 = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled
_NESTED = ("model", "state_dict", "model_state_dict", "blobs")  # where trainers put the weights among other things
_BLOCK = 1 << 20  # bytes read at a time
_WRAPPERS = ("module.", "model.")  # what DistributedDataParallel and trainers put before every name


class Content(NamedTuple):
    """What a weights file holds."""

    tensors: dict[str, Tensor]  # by the names that the file gives them
    metadata: dict[str, str]  # of safetensors files; the others have none


def read_content(path: Path) -> Content:
    """The tensors in the file at ``path``, on the CPU.

    Raises:
        UserError: the file cannot be read, is of none of the known kinds, is damaged or cut short, refers to code, or
            asks for much more memory than its size.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(16)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not beginning:
        raise UserError(f"{path}: expected {EXPECTED}; the file is empty")
    try:
        return _reader(path, beginning)(path)
    except MemoryError:
        raise UserError(f"{path}: cannot be read: it asks for more memory than there is") from None


def _reader(path: Path, beginning: bytes) -> Callable[[Path], Content]:
    if beginning.startswith(_ARCHIVE):
        return _read_archive
    if beginning.startswith(_TORCH_BEFORE_1_6):
        return _read_torch
    if beginning.startswith(SIGNATURE):
        return _read_h5
    if beginning[4:9] == b"\0\0\0\0{":  # eight bytes of length, far below 4 GiB, then JSON
        return _read_safetensors
    if beginning[:1] == b"\x80" or path.suffix == ".pkl":  # protocols before 2 begin with anything
        return _read_numpy_pickle
    raise UserError(f"{path}: expected {EXPECTED}; it begins with {beginning[:9]!r}")


def _read_safetensors(path: Path) -> Content:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return Content({name: file.get_tensor(name) for name in file.keys()}, metadata)  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        reason = first_line(error)
        raise UserError(f"{path}: expected a complete safetensors file; it is damaged or cut short: {reason}") from None


def _read_h5(path: Path) -> Content:
    return Content(read_h5(path), {})


def _read_archive(path: Path) -> Content:
    """What torch has written since 1.6: uncompressed and with checksums. It reads compressed ones of any size, too, and
    does not look at the checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(part.file_size for part in archive.infolist())
            if claimed > most_bytes(path):
                raise UserError(f"{path}: expected an archive of about the size of its parts; they are {claimed} bytes")
            for part in archive.infolist():
                if part.CRC == 0:  # torch can be told to leave them out
                    continue
                with archive.open(part) as content:
                    while content.read(_BLOCK):
                        pass
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        reason = first_line(error)
        raise UserError(f"{path}: expected a complete file of torch; it is damaged or cut short: {reason}") from None
    return _read_torch(path)


def _read_torch(path: Path) -> Content:
    try:
        with path.open("rb") as file, _allow_options():  # given a path, torch goes by its suffix
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive or pickle ends in any of a dozen types
        if refused := re.search(r"Unsupported (?:global: GLOBAL|class) ([\w.]+)", str(error)):
            found = f"it refers to {refused[1].rstrip('.')}, refused; save the state_dict alone to leave that out"
        else:
            found = f"it cannot be read: {first_line(error)}"
        raise UserError(f"{path}: expected a state_dict of plain tensors; {found}") from None
    return Content(_state_in(content, path), {})


def _allow_options() -> AbstractContextManager[object]:
    """Allows the options of a program beside the weights, where torchvision's recipes put them: names and values."""
    allow = getattr(torch.serialization, "safe_globals", None)  # from torch 2.5 on
    return nullcontext() if allow is None else allow([Namespace])


def _read_numpy_pickle(path: Path) -> Content:
    return Content(_state_in(read_pickle(path), path), {})


def _state_in(content: Any, path: Path) -> dict[str, Tensor]:
    """The mapping of names to tensors in what a checkpoint holds."""
    if isinstance(content, Mapping):
        content = next((content[key] for key in _NESTED if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: expected a state_dict, tensors by name; it holds a {type(content).__name__}")
    return _unwrapped({str(name): _as_tensor(str(name), value, path) for name, value in content.items()})


def _as_tensor(name: str, value: Any, path: Path) -> Tensor:
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype == np.longdouble:
            raise UserError(f"{path}: expected numbers of 64 bits at most; {name!r} has {value.dtype}")
        return torch.as_tensor(value)
    if not isinstance(value, Tensor):
        raise UserError(f"{path}: expected a state_dict of tensors alone; {name!r} is a {type(value).__name__}")
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        kind = "quantized" if value.is_quantized else "without values" if value.is_meta else str(value.layout)
        raise UserError(f"{path}: expected tensors that hold all their values; {name!r} is {kind}")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        # A stride of zero repeats a number for nothing, until somebody counts classes by the shape.
        raise UserError(f"{path}: expected every number of {name!r} {list(value.shape)} in the file; found fewer")
    return value


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if state and all(name.startswith(wrapper) for name in state):
            return _unwrapped({name.removeprefix(wrapper): value for name, value in state.items()})
    return state


def write_content(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to ``path`` in the way that its suffix says; an older file there is replaced atomically.

    Raises:
        UserError: the suffix is not one of those that can be written, or the file cannot be.
    """
    write = _WRITERS.get(path.suffix)
    if write is None:
        raise UserError(
            f"{path}: expected a name that ends in {', '.join(_WRITERS)}; got {path.suffix or 'no suffix'!r}"
        )
    with atomic_path(path) as temporary:
        write({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, path)


def _write_safetensors(tensors: dict[str, Tensor], path: Path, shown: Path) -> None:
    write_tensors(tensors, path, shown=shown)


def _write_torch(tensors: dict[str, Tensor], path: Path, shown: Path) -> None:
    try:
        torch.save(tensors, path)
    except (OSError, RuntimeError) as error:  # torch's own writer raises the latter for a full disk
        raise UserError(f"{shown}: cannot be written: {first_line(error)}") from None


def _write_pickle(tensors: dict[str, Tensor], path: Path, shown: Path) -> None:
    # The form of detectron2's zoo, whose reader looks for an author.
    content = {"model": {name: tensor.numpy() for name, tensor in tensors.items()}, "__author__": "fastmrcnn"}
    try:
        with path.open("wb") as file:
            pickle.dump(content, file, protocol=4)
    except OSError as error:
        raise UserError(f"{shown}: cannot be written: {first_line(error)}") from None


def _write_h5(tensors: dict[str, Tensor], path: Path, shown: Path) -> None:
    from fastmrcnn.weights.matterport import write_matterport  # not imported by those who read

    write_matterport(tensors, path, shown)


_WRITERS: dict[str, Callable[[dict[str, Tensor], Path, Path], None]] = {
    ".safetensors": _write_safetensors,
    ".pth": _write_torch,
    ".pt": _write_torch,
    ".pkl": _write_pickle,
    ".h5": _write_h5,
}
