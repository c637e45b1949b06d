"""Weights of Matterport's Mask R-CNN (the ``mrcnn`` package, Keras): its names and layouts for our tensors, both ways.

Keras keeps kernels as [rows, columns, inputs, outputs], and Matterport boxes as y, x, height, width where ours are
x, y, width, height. Nothing else differs: a round trip gives every number back, bit for bit.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig, matterport_resnet_fpn
from fastmrcnn.models.config import Depth
from fastmrcnn.weights.keras_h5 import write_h5
from fastmrcnn.weights.states import buildable, check_state, classes_of
from fastmrcnn.weights.store import check_tensors, new_model, shapes_of

_KINDS = {"conv": "res", "norm": "bn"}
_BRANCHES = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "shortcut": "1"}

# Our layers -> theirs. Stages and blocks are numbers here and "3b" there, pyramid levels count from 0 here and 2 there.
_LAYERS: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"backbone\.stem\.conv1\.conv", lambda _: "conv1"),
    (r"backbone\.stem\.conv1\.norm", lambda _: "bn_conv1"),
    (
        r"backbone\.stages\.(\d+)\.(\d+)\.(conv1|conv2|conv3|shortcut)\.(conv|norm)",
        lambda match: (
            f"{_KINDS[match[4]]}{int(match[1]) + 2}{chr(ord('a') + int(match[2]))}_branch{_BRANCHES[match[3]]}"
        ),
    ),
    (r"fpn\.lateral\.(\d+)\.conv", lambda match: f"fpn_c{int(match[1]) + 2}p{int(match[1]) + 2}"),
    (r"fpn\.output\.(\d+)\.conv", lambda match: f"fpn_p{int(match[1]) + 2}"),
    (r"rpn\.head\.convs\.0", lambda _: "rpn_conv_shared"),
    (r"rpn\.head\.objectness", lambda _: "rpn_class_raw"),
    (r"rpn\.head\.deltas", lambda _: "rpn_bbox_pred"),
    (r"roi_heads\.box_head\.layers\.(\d+)\.linear", lambda match: f"mrcnn_class_conv{int(match[1]) + 1}"),
    (r"roi_heads\.box_head\.layers\.(\d+)\.norm", lambda match: f"mrcnn_class_bn{int(match[1]) + 1}"),
    (r"roi_heads\.box_head\.classifier", lambda _: "mrcnn_class_logits"),
    (r"roi_heads\.box_head\.deltas", lambda _: "mrcnn_bbox_fc"),
    (r"roi_heads\.mask_head\.convs\.(\d+)\.conv", lambda match: f"mrcnn_mask_conv{int(match[1]) + 1}"),
    (r"roi_heads\.mask_head\.convs\.(\d+)\.norm", lambda match: f"mrcnn_mask_bn{int(match[1]) + 1}"),
    (r"roi_heads\.mask_head\.upsample", lambda _: "mrcnn_mask_deconv"),
    (r"roi_heads\.mask_head\.logits", lambda _: "mrcnn_mask"),
]
_CONV_VARIABLES = {"weight": "kernel", "bias": "bias"}
_NORM_VARIABLES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}

_STALE = ("anchors/",)  # some versions keep the anchors as a variable; ours follow from the configuration
_INNER_MODEL = dict.fromkeys(("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"), "rpn_model")
_DEPTHS: dict[int, Depth] = {6: 50, 23: 101}  # by the blocks of stage 4
_BATCH_NORMS = ("frozen_bn", "bn", "sync_bn")
_RATIOS = 3  # anchors of a cell; which ratios they have is not in the file


def matterport_name(name: str) -> str:
    """Matterport's layer and variable for our tensor ``name``.

    >>> matterport_name("backbone.stages.3.0.shortcut.norm.running_var")
    'bn5a_branch1/moving_variance'
    """
    layer, _, variable = name.rpartition(".")
    for pattern, rename in _LAYERS:
        if match := re.fullmatch(pattern, layer):
            variables = _NORM_VARIABLES if layer.endswith("norm") else _CONV_VARIABLES
            return f"{rename(match)}/{variables[variable]}"
    raise ValueError(f"matterport_name: expected a tensor that Matterport's Mask R-CNN has; got {name!r}")


def is_matterport_state(state: Mapping[str, object]) -> bool:
    """Does this look like the variables of one of Matterport's models, as ``read_h5`` names them?"""
    return "rpn_class_raw/kernel" in state or "mrcnn_class_logits/kernel" in state


def from_matterport(
    state: Mapping[str, Tensor],
    *,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] = (),
    source: str = "state_dict",
) -> MaskRCNN:
    """The model of the variables in a weights file of Matterport's ``mrcnn``, with ResNet-50 or ResNet-101.

    It detects what ``MaskRCNN(mode="inference", ...).detect`` of that package detects, with the package's default
    configuration; the file does not hold one. For anchors, image sizes or thresholds of your own see the guide
    (MATTERPORT.md).

    Args:
        state: layer/variable -> values in Keras' layout, as ``read_h5`` gives them.
        class_names: of the foreground classes. Left out: COCO's where the weights have its 80, else class-1, ...
        category_ids: the data set's ids of the classes; COCO's own or 1, 2, .. when left out.
        source: names the weights in errors.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        UserError: the variables are not those of such a model.
    """
    check_state(state, "Matterport's Mask R-CNN", is_matterport_state(state), source)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_STALE)}
    with buildable(source):
        config = _infer_config(state, class_names, category_ids, source)
    shapes = shapes_of(config, source)
    expected = {
        matterport_name(n): _to_keras(n, torch.empty(s, device="meta"), config).shape for n, s in shapes.items()
    }
    check_tensors(expected, state, source)
    model = new_model(config)
    model.load_state_dict({name: _from_keras(name, state[matterport_name(name)], s) for name, s in shapes.items()})
    return model.eval()


def to_matterport(model: MaskRCNN) -> dict[str, Tensor]:
    """The variables of the same model in Matterport's package, for ``write_matterport``.

    That package computes with its own settings: only a model of the preset ``matterport_resnet_fpn`` gives exactly the
    same detections there.

    Raises:
        UserError: the network has parts that Matterport's does not have, or lacks some.
    """
    _check_architecture(model.config)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    return {matterport_name(name): _to_keras(name, tensor, model.config) for name, tensor in state.items()}


def write_matterport(variables: Mapping[str, Tensor], path: Path, shown: Path) -> None:
    """Write what :func:`to_matterport` gives as the ``.h5`` file that Matterport's ``load_weights`` reads."""
    write_h5(variables, path, shown=shown, nested=_INNER_MODEL)


def _to_keras(name: str, tensor: Tensor, config: MaskRCNNConfig) -> Tensor:
    """Our tensor in Keras' layout."""
    if tensor.ndim == 1:
        return _swap_axes(tensor) if name.endswith("deltas.bias") else tensor
    if name.endswith("deltas.weight"):
        tensor = _swap_axes(tensor)
    if re.fullmatch(r"roi_heads\.box_head\.layers\.\d+\.linear\.weight", name):
        assert config.box_head is not None
        # There a convolution over all cells of the pooled map, then 1x1 ones.
        cells = config.box_head.pooler.output_size if ".layers.0." in name else 1
        tensor = tensor.unflatten(1, (-1, cells, cells))
    return tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T


def _from_keras(name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """A variable of Keras' in our layout, of the shape that it has here."""
    if tensor.ndim > 1:
        tensor = (tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T).reshape(shape)
    return _swap_axes(tensor) if ".deltas." in name else tensor


def _swap_axes(tensor: Tensor) -> Tensor:
    """Outputs dx, dy, dw, dh of each box as dy, dx, dh, dw, and back."""
    swapped: Tensor = tensor.unflatten(0, (-1, 4))[:, [1, 0, 3, 2]].flatten(0, 1)
    return swapped


def _infer_config(
    state: Mapping[str, Tensor], class_names: Sequence[str] | None, category_ids: Sequence[int], source: str
) -> MaskRCNNConfig:
    """The preset with the classes, the depth and the widths that the tensors have."""
    classes = _size(state, "mrcnn_class_logits/bias", source) - 1
    names, ids = classes_of(classes, class_names, category_ids, source)
    outputs = _size(state, "rpn_class_raw/bias", source)
    if outputs != 2 * _RATIOS:
        raise UserError(
            f"{source}: expected 'rpn_class_raw/bias' to be [6], of three anchors a cell; found [{outputs}]"
        )
    blocks = sum(re.fullmatch(r"res4._branch2a/kernel", name) is not None for name in state)
    if blocks not in _DEPTHS:
        raise UserError(f"{source}: expected a ResNet-50 or 101 backbone, 6 or 23 blocks res4*; found {blocks}")
    config = matterport_resnet_fpn(names, ids, depth=_DEPTHS[blocks])
    assert config.box_head is not None
    assert config.mask_head is not None
    return dataclasses.replace(
        config,
        backbone=dataclasses.replace(config.backbone, width=_size(state, "conv1/bias", source)),
        fpn=dataclasses.replace(config.fpn, channels=_size(state, "fpn_c5p5/bias", source)),
        rpn=dataclasses.replace(config.rpn, channels=_size(state, "rpn_conv_shared/bias", source)),
        box_head=dataclasses.replace(config.box_head, hidden=_size(state, "mrcnn_class_conv1/bias", source)),
        mask_head=dataclasses.replace(config.mask_head, channels=_size(state, "mrcnn_mask_conv1/bias", source)),
    )


def _size(state: Mapping[str, Tensor], name: str, source: str) -> int:
    if name not in state:
        raise UserError(f"{source}: expected a tensor {name!r} of Matterport's Mask R-CNN; it is missing")
    if state[name].ndim != 1 or len(state[name]) == 0:
        raise UserError(f"{source}: expected {name!r} to be a row of numbers; found {list(state[name].shape)}")
    return len(state[name])


def _check_architecture(config: MaskRCNNConfig) -> None:
    """UserError unless Matterport's package can build this network."""
    backbone, rpn, box, mask = config.backbone, config.rpn, config.box_head, config.mask_head
    checks = {
        "neck fpn": config.neck == "fpn" and config.fpn.norm == "none",
        "box and mask heads and no other": box is not None and mask is not None and config.keypoint_head is None,
        "a ResNet-50 or 101": backbone.depth in _DEPTHS.values() and backbone.groups == 1,
        "batch normalisation after biased convolutions": (backbone.conv_bias and backbone.norm in _BATCH_NORMS),
        "two outputs of objectness and one RPN convolution": rpn.objectness == "softmax" and rpn.convolutions == 1,
        "three anchors a cell": rpn.anchors.per_location == _RATIOS,
    }
    if box is not None and mask is not None:
        checks["two normalised fully connected layers"] = (
            (box.fully_connected, box.convolutions) == (2, 0)
            and box.fully_connected_norm in _BATCH_NORMS
            and not box.class_agnostic
        )
        checks["a mask head of four normalised convolutions"] = (
            (mask.predictor, mask.convolutions) == ("fcn", 4)
            and mask.norm in _BATCH_NORMS
            and mask.conv_bias
            and not mask.class_agnostic
        )
    for expected, met in checks.items():
        if not met:
            raise UserError(f"to_matterport: expected {expected}, as Matterport's Mask R-CNN has; the model differs")
