"""The families of published models: whose tensors a file holds, and who reads and writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN
from fastmrcnn.weights.detectron2 import from_detectron2, is_detectron2_state, to_detectron2
from fastmrcnn.weights.matterport import from_matterport, is_matterport_state, to_matterport
from fastmrcnn.weights.mmdetection import from_mmdetection, is_mmdetection_state, to_mmdetection
from fastmrcnn.weights.torchvision import from_torchvision, is_torchvision_state, to_torchvision

__all__ = ["FAMILIES", "Family", "family_called", "family_of"]

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Family:
    """Models that share the names of their tensors and their mathematics."""

    name: str
    models: str  # what is read, in words, for messages
    recognises: Callable[[Mapping[str, Any]], bool]  # by the names of the tensors
    # (state, *, class_names, category_ids, source) -> the model with the mathematics of this family
    read: Callable[..., MaskRCNN]
    # The inverse; UserError where the network has parts that the family knows nothing of.
    write: Callable[[MaskRCNN], dict[str, Tensor]]
    suffixes: tuple[str, ...] = ()  # of the files that nothing but this family is written to


FAMILIES = (
    Family(
        name="torchvision",
        models="torchvision's Mask, Faster and Keypoint R-CNN",
        recognises=is_torchvision_state,
        read=from_torchvision,
        write=to_torchvision,
        suffixes=(".pth", ".pt"),
    ),
    Family(
        name="detectron2",
        models="detectron2's Mask, Faster and Keypoint R-CNNs",
        recognises=is_detectron2_state,
        read=from_detectron2,
        write=to_detectron2,
        suffixes=(".pkl",),
    ),
    Family(
        name="mmdetection",
        models="mmdetection's Mask and Faster R-CNN with a pyramid",
        recognises=is_mmdetection_state,
        read=from_mmdetection,
        write=to_mmdetection,
    ),
    Family(
        name="matterport",
        models="Matterport's Mask R-CNN",
        recognises=is_matterport_state,
        read=from_matterport,
        write=to_matterport,
        suffixes=(".h5",),
    ),
)


def family_of(state: State, source: str) -> Family:
    """The family of a file's tensors; UserError naming the file ``source`` where it is none of the known ones."""
    for family in FAMILIES:
        if family.recognises(state):
            return family
    known = " or ".join(family.models for family in FAMILIES)
    found = _beginning(state)
    if any(name.endswith("layer1.0.conv1.weight") for name in state):
        found += "; of a backbone alone, as these may be, load_backbone takes the weights"
    raise UserError(f"{source}: expected the weights of fastmrcnn or of {known}; {found}")


def family_called(name: str) -> Family:
    """The family of that name; UserError where there is none."""
    for family in FAMILIES:
        if family.name == name:
            return family
    raise UserError(f"expected one of the formats {', '.join(family.name for family in FAMILIES)}; got {name!r}")


def _beginning(state: State) -> str:
    shown = ", ".join(f"{name!r} {list(tensor.shape)}" for name, tensor in list(state.items())[:3])
    return f"its {len(state)} tensors begin with {shown}" if shown else "it holds no tensor"
