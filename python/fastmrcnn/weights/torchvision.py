"""Weights of torchvision's Mask, Faster and Keypoint R-CNN, first and second version: its names for our tensors, both
ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.weights.plain_resnet import plain_name, renamed
from fastmrcnn.weights.states import check_state
from fastmrcnn.weights.store import build_model
from fastmrcnn.weights.torchvision_config import infer_config

__all__ = ["from_torchvision", "is_torchvision_state", "to_torchvision", "torchvision_name"]

# Our names -> torchvision's, but for the backbone and the layers of the box head.
_OUR_TO_THEIR = [
    (r"^fpn\.lateral\.(\d+)\.conv\.", r"backbone.fpn.inner_blocks.\1.0."),
    (r"^fpn\.lateral\.(\d+)\.norm\.", r"backbone.fpn.inner_blocks.\1.1."),
    (r"^fpn\.output\.(\d+)\.conv\.", r"backbone.fpn.layer_blocks.\1.0."),
    (r"^fpn\.output\.(\d+)\.norm\.", r"backbone.fpn.layer_blocks.\1.1."),
    (r"^rpn\.head\.convs\.(\d+)\.", r"rpn.head.conv.\1.0."),
    (r"^rpn\.head\.objectness\.", "rpn.head.cls_logits."),
    (r"^rpn\.head\.deltas\.", "rpn.head.bbox_pred."),
    (r"^roi_heads\.(box|mask)_head\.convs\.(\d+)\.conv\.", r"roi_heads.\1_head.\2.0."),
    (r"^roi_heads\.(box|mask)_head\.convs\.(\d+)\.norm\.", r"roi_heads.\1_head.\2.1."),
    (r"^roi_heads\.box_head\.classifier\.", "roi_heads.box_predictor.cls_score."),
    (r"^roi_heads\.box_head\.deltas\.", "roi_heads.box_predictor.bbox_pred."),
    (r"^roi_heads\.mask_head\.upsample\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"^roi_heads\.mask_head\.logits\.", "roi_heads.mask_predictor.mask_fcn_logits."),
    (r"^roi_heads\.keypoint_head\.upsample\.", "roi_heads.keypoint_predictor.kps_score_lowres."),
]
_BOX_LAYER = re.compile(r"^roi_heads\.box_head\.layers\.(\d+)\.linear\.")
_KEYPOINT_CONV = re.compile(r"^roi_heads\.keypoint_head\.convs\.(\d+)\.")

# Names of files written before torchvision 0.13 -> today's.
_OLD_TO_NEW = [
    (r"^backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)$", r"backbone.fpn.\1_blocks.\2.0.\3"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    *((rf"^roi_heads\.mask_head\.mask_fcn{index + 1}\.", f"roi_heads.mask_head.{index}.0.") for index in range(4)),
]


def torchvision_name(name: str, *, box_convolutions: int = 0) -> str:
    """torchvision's name of our tensor ``name``.

    box_convolutions: of the box head, whose layers torchvision counts through; without any it names two.

    >>> torchvision_name("backbone.stages.3.0.shortcut.norm.weight")
    'backbone.body.layer4.0.downsample.1.weight'
    """
    if name.startswith("backbone."):
        return "backbone.body." + plain_name(name.removeprefix("backbone."))
    if layer := _BOX_LAYER.match(name):
        index = int(layer[1])
        # A flattening comes after the convolutions, and a rectifier after each layer.
        theirs = f"{box_convolutions + 1 + 2 * index}" if box_convolutions > 0 else f"fc{6 + index}"
        return f"roi_heads.box_head.{theirs}.{name[layer.end() :]}"
    if conv := _KEYPOINT_CONV.match(name):  # a rectifier follows each
        return f"roi_heads.keypoint_head.{2 * int(conv[1])}.{name[conv.end() :]}"
    theirs = renamed(name, _OUR_TO_THEIR)
    if theirs == name:
        raise ValueError(f"torchvision_name: expected a tensor that torchvision's models have; got {name!r}")
    return theirs


def is_torchvision_state(state: Mapping[str, object]) -> bool:
    """Does this look like a state_dict of one of torchvision's R-CNNs?"""
    return all(any(name.startswith(part) for name in state) for part in ("backbone.body.", "roi_heads."))


def from_torchvision(
    state: Mapping[str, Tensor],
    *,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] = (),
    norm_eps: float = 1e-5,
    source: str = "state_dict",
) -> MaskRCNN:
    """The model of a state_dict of torchvision's ``maskrcnn_resnet50_fpn``, ``fasterrcnn_resnet50_fpn``, their second
    versions (``_v2``) or ``keypointrcnn_resnet50_fpn``, or of a variant with another ResNet or ResNeXt.

    It detects what torchvision detects. The architecture, the class count and the kind of normalisation are read off
    the tensors; names from before torchvision 0.13 are understood.

    Args:
        class_names: of the foreground classes. Left out: COCO's where the weights have its 90, "person" where one
            class has keypoints, else class-1, ...
        category_ids: the data set's ids of the classes; 1, 2, .. when left out.
        norm_eps: epsilon of the backbone's normalisation; 0 for torchvision's published COCO_V1 weights of the first
            versions.
        source: names the weights in errors.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        UserError: the tensors are not those of such a model.

    >>> import torchvision  # doctest: +SKIP
    >>> theirs = torchvision.models.detection.maskrcnn_resnet50_fpn(weights="COCO_V1")  # doctest: +SKIP
    >>> ours = from_torchvision(theirs.state_dict(), norm_eps=0.0)  # doctest: +SKIP
    """
    check_state(state, "torchvision's Mask R-CNN", is_torchvision_state(state), source)
    state = {renamed(name, _OLD_TO_NEW): tensor for name, tensor in state.items()}
    config = infer_config(state, class_names, category_ids, norm_eps, source)
    return build_model(config, state, source, stored_name=_naming(config))


def to_torchvision(model: MaskRCNN) -> dict[str, Tensor]:
    """The state_dict of the same model in torchvision, for ``load_state_dict`` there.

    Tensors are shared with ``model``. torchvision computes with its own settings: only a model of one of the presets
    ``torchvision_...`` gives exactly the same detections there.

    Raises:
        UserError: the network has parts that torchvision's does not have.
    """
    for part, expected, got in _foreign_parts(model.config):
        raise UserError(f"to_torchvision: expected {part} to be {expected}, as in torchvision's models; got {got!r}")
    name_of = _naming(model.config)
    return {name_of(name): tensor for name, tensor in model.state_dict().items()}


def _naming(config: MaskRCNNConfig) -> Callable[[str], str]:
    assert config.box_head is not None
    convolutions = config.box_head.convolutions
    return lambda name: torchvision_name(name, box_convolutions=convolutions)


def _foreign_parts(config: MaskRCNNConfig) -> Iterator[tuple[str, str, object]]:
    """(field, what torchvision has there, what is found) of the layers that torchvision's do not have."""
    box, mask, norms = config.box_head, config.mask_head, "none, bn, sync_bn or frozen_bn"
    if config.neck != "fpn":
        yield "neck", "fpn", config.neck
    if box is None:
        yield "box_head", "there", box
        return
    if box.convolutions == 0 and box.fully_connected != 2:
        yield "box_head.fully_connected", "2 without convolutions", box.fully_connected
    if box.fully_connected == 0:
        yield "box_head.fully_connected", "positive", box.fully_connected
    for part, norm in (
        ("backbone", config.backbone.norm),
        ("fpn", config.fpn.norm),
        ("box_head", box.norm),
        ("mask_head", "none" if mask is None else mask.norm),
    ):
        if norm in ("gn", "gn32"):
            yield f"{part}.norm", norms, norm
    for field, expected, got in (
        ("backbone.conv_bias", False, config.backbone.conv_bias),
        ("rpn.objectness", "sigmoid", config.rpn.objectness),
        ("rpn.channels", config.feature_channels, config.rpn.channels or config.feature_channels),
        ("box_head.fully_connected_norm", "none", box.fully_connected_norm),
        ("box_head.class_agnostic", False, box.class_agnostic),
        ("mask_head.conv_bias", False, mask is not None and mask.conv_bias),
        ("mask_head.class_agnostic", False, mask is not None and mask.class_agnostic),
        ("mask_head.predictor", "fcn", "fcn" if mask is None else mask.predictor),
        ("backbone.width", 64, config.backbone.width),
    ):
        if got != expected:
            yield field, str(expected), got
