"""Weights files of Keras: HDF5, a group for each layer, a data set for each of its variables.

The groups repeat the layer's name, "/conv1/conv1/kernel:0"; layers of a model within the model share the outer group,
"/rpn_model/rpn_conv_shared/kernel:0". Here a variable is called by its layer and itself, "conv1/kernel".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.errors import UserError, first_line
from fastmrcnn.weights.limits import most_bytes

SIGNATURE = b"\x89HDF\r\n\x1a\n"  # the first bytes of every HDF5 file
# Keras takes the layout of kernels from these attributes, and turns them round where they are missing.
_WRITTEN_BY = {"backend": "tensorflow", "keras_version": "2.0.8"}


def read_h5(path: Path) -> dict[str, Tensor]:
    """The variables in the Keras file at ``path``, in Keras' layout; whole models that Keras saved are understood too.

    Nothing that the file contains is executed, and no other file is read, whatever it refers to.

    Raises:
        UserError: h5py is not installed, or the file is damaged, cut short, no HDF5, keeps values in other files or
            claims many more than it holds.
    """
    h5py = _h5py(path)
    variables: dict[str, Tensor] = {}
    unspent = most_bytes(path)

    def collect(name: str, item: Any) -> None:
        nonlocal unspent
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer_weights/"):
            return
        variable = _variable(name)
        if variable in variables:
            raise UserError(f"{path}: expected one variable {variable!r}; the file holds several")
        if item.dtype.kind not in "fiu":
            raise UserError(f"{path}: expected numbers in {name!r}; found {item.dtype}")
        if item.is_virtual or item.external:
            raise UserError(f"{path}: expected the values of {name!r} in the file; it refers to other files, refused")
        unspent -= item.nbytes
        if unspent < 0:
            raise UserError(f"{path}: expected about as many values as the file holds; {name!r} is {list(item.shape)}")
        variables[variable] = torch.from_numpy(np.asarray(item[()]))

    try:
        with h5py.File(path, "r") as file:
            _weights_in(file, h5py).visititems(collect)  # which follows no links
    except UserError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # what a damaged file ends in
        raise UserError(
            f"{path}: expected a complete HDF5 file; it is damaged or cut short: {first_line(error)}"
        ) from None
    return variables


def _weights_in(file: Any, h5py: ModuleType) -> Any:
    """The group of the weights: that of a whole model, or the file itself."""
    name = "model_weights"
    is_own = isinstance(file.get(name, getlink=True), h5py.HardLink) and file.get(name, getclass=True) is h5py.Group
    return file[name] if is_own else file


def write_h5(
    variables: Mapping[str, Tensor], path: Path, *, shown: Path, nested: Mapping[str, str] | None = None
) -> None:
    """Write variables to ``path`` so that Keras' ``load_weights(path, by_name=True)`` finds them.

    Args:
        variables: by layer and variable, "conv1/kernel"; those of a layer follow one another in Keras' order.
        shown: the file that a full disk is reported for.
        nested: layer -> the inner model that it belongs to, if any.
    """
    h5py = _h5py(shown)
    groups: dict[str, list[str]] = {}
    for name in variables:
        layer = name.rpartition("/")[0]
        groups.setdefault((nested or {}).get(layer, layer), []).append(name)
    try:
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = np.array([group.encode() for group in groups])
            for key, value in _WRITTEN_BY.items():
                file.attrs[key] = np.bytes_(value)
            for group, names in groups.items():
                file.create_group(group).attrs["weight_names"] = np.array([f"{name}:0".encode() for name in names])
                for name in names:
                    file[group][f"{name}:0"] = variables[name].detach().cpu().contiguous().numpy()
    except OSError as error:
        raise UserError(f"{shown}: cannot be written: {first_line(error)}") from None


def _variable(name: str) -> str:
    """ "conv1/conv1/kernel:0" -> "conv1/kernel"."""
    layer, _, variable = name.rpartition("/")
    return f"{layer.rpartition('/')[2]}/{variable.partition(':')[0]}"


def _h5py(path: Path) -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path}: expected the package h5py, which reads files of Keras: pip install h5py") from None
    module: ModuleType = h5py
    return module
