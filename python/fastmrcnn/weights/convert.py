"""From one kind of weights file to another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.weights.containers import write_content
from fastmrcnn.weights.families import FAMILIES, Family, family_called
from fastmrcnn.weights.load import find_file, read_model
from fastmrcnn.weights.store import save_model

OWN = "fastmrcnn"
FORMATS = (OWN, *(family.name for family in FAMILIES))


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert` has written."""

    config: MaskRCNNConfig  # of the model that was read
    target: Path
    format: str
    # Where the system that the file is for computes in another way than the model that was read, or has no place for a
    # weight: a line for each field and tensor.
    differences: list[str]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    format: str | None = None,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] = (),
    dtype: torch.dtype | None = None,
) -> Conversion:
    """Write the model in one file to another; every weight that the other system has keeps its bits.

    Args:
        source, class_names, category_ids: what to read, as for :func:`load_model`.
        target: the file to write; an older one is replaced.
        format: one of :data:`FORMATS`: whose the file shall be. Left out, the suffix of ``target`` decides:
            .safetensors is fastmrcnn's own, which also holds the configuration and the class names.
        dtype: as for :func:`save_model`; of fastmrcnn's own files alone.

    Raises:
        UserError: the source cannot be read, the network has parts that the other system does not have, or the target
            cannot be written.
    """
    target = Path(target)
    chosen = format or _format_of(target)
    if chosen not in FORMATS:
        raise UserError(f"expected one of the formats {', '.join(FORMATS)}; got {chosen!r}")
    family = None if chosen == OWN else family_called(chosen)
    if target.suffix == ".h5" and chosen != "matterport":  # Keras' layers, which the names of others do not tell
        raise UserError(f"{target}: expected another suffix for the format {chosen}; .h5 is for matterport alone")
    if family is not None and dtype is not None:
        raise UserError(f"{target}: expected a file of fastmrcnn to store in {dtype}; got the format {chosen}")
    model = read_model(find_file(source), class_names, category_ids)
    if family is None:
        save_model(model, target, dtype=dtype)
        return Conversion(model.config, target, chosen, [])
    if model.config.input.channels != 3:
        channels = model.config.input.channels
        raise UserError(f"{source}: expected a model of 3 channels for the format {chosen}; it has {channels}")
    tensors = family.write(model)
    differences = _differences(model, tensors, family)
    write_content(tensors, target)
    return Conversion(model.config, target, chosen, differences)


def _format_of(target: Path) -> str:
    if target.suffix == ".safetensors":
        return OWN
    for family in FAMILIES:
        if target.suffix in family.suffixes:
            return family.name
    known = [".safetensors", *(suffix for family in FAMILIES for suffix in family.suffixes)]
    raise UserError(f"{target}: expected a name that ends in {', '.join(known)}; got {target.suffix or 'no suffix'!r}")


def _differences(model: MaskRCNN, tensors: dict[str, Tensor], family: Family) -> list[str]:
    """The fields and weights of ``model`` that are others when the family reads it; UserError for no such model."""
    config = model.config
    theirs = family.read(
        tensors,
        class_names=config.class_names,
        category_ids=config.category_ids,
        source=f"the network in the names of {family.name}",
    )
    own, other = _flat(config.to_dict()), _flat(theirs.config.to_dict())
    fields = [
        f"{name} is {own.get(name)!r} here, {other.get(name)!r} there"
        for name in own | other
        if own.get(name) != other.get(name) and name != "channels_last"  # how values lie in memory, not what they are
    ]
    kept = theirs.state_dict()
    return fields + [
        f"{name} has outputs for the background here, which nothing reads; none there"
        for name, tensor in model.state_dict().items()
        if name in kept and not torch.allclose(tensor, kept[name], rtol=0, atol=0, equal_nan=True)
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"rpn": {"samples": 256}} as {"rpn.samples": 256}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
