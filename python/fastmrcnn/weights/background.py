"""Weights of systems that put the background behind the classes where they have one (the classifier), and have none
where they need none (boxes, masks): detectron2 and mmdetection.

Here the background is always class 0; its boxes and masks, which nobody reads, are zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.weights.states import State
from fastmrcnn.weights.store import check_tensors, new_model, shapes_of

__all__ = ["model_of", "needs_background", "state_of"]


def model_of(config: MaskRCNNConfig, state: State, name_of: Callable[[str], str], source: str) -> MaskRCNN:
    """A model of their weights, on the CPU in evaluation mode.

    ``name_of`` gives their name of each of our tensors; ``source`` names the weights in the UserError that is raised
    where they do not fit.
    """
    expected = {}
    for name, shape in shapes_of(config, source).items():
        expected[name_of(name)] = torch.Size((shape[0] - background_rows(name, config), *shape[1:])) if shape else shape
    check_tensors(expected, state, source)
    model = new_model(config)
    model.load_state_dict(
        {name: background_to_front(name, state[name_of(name)], config) for name in model.state_dict()}
    )
    return model.eval()


def state_of(state: Mapping[str, Tensor], config: MaskRCNNConfig, name_of: Callable[[str], str]) -> dict[str, Tensor]:
    """The inverse: our tensors under their names, in their order; shared where they are the same."""
    return {name_of(name): background_to_back(name, tensor, config) for name, tensor in state.items()}


def background_to_front(name: str, tensor: Tensor, config: MaskRCNNConfig) -> Tensor:
    """The outputs of our tensor ``name`` from their order to ours; undone by :func:`background_to_back`."""
    if name.startswith("roi_heads.box_head.classifier."):
        return torch.cat((tensor[-1:], tensor[:-1]))
    added = background_rows(name, config)
    return F.pad(tensor, [0, 0] * (tensor.ndim - 1) + [added, 0]) if added else tensor


def background_to_back(name: str, tensor: Tensor, config: MaskRCNNConfig) -> Tensor:
    """The outputs of our tensor ``name`` from our order to theirs."""
    if name.startswith("roi_heads.box_head.classifier."):
        return torch.cat((tensor[1:], tensor[:1]))
    added = background_rows(name, config)
    return tensor[added:] if added else tensor


def needs_background(config: MaskRCNNConfig) -> str | None:
    """An output for the background that counts in our model, where its counterpart there has none."""
    if config.mask_head is not None and config.mask_head.activation == "softmax":
        return "mask, which those of the classes compete with"
    return "objectness, which that of an object competes with" if config.rpn.objectness == "softmax" else None


def background_rows(name: str, config: MaskRCNNConfig) -> int:
    """How many outputs of our tensor ``name`` are those of a background that they do not have."""
    if config.box_head and name.startswith("roi_heads.box_head.deltas."):
        return 0 if config.box_head.class_agnostic else 4
    if config.mask_head and name.startswith("roi_heads.mask_head.logits."):
        return 0 if config.mask_head.class_agnostic else 1
    return 0
