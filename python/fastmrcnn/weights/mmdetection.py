"""Weights of mmdetection's Mask and Faster R-CNNs with a pyramid, versions 2 and 3: its names for our tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig, mmdetection_rcnn
from fastmrcnn.models.presets.mmdetection import MMDetectionStyle
from fastmrcnn.weights.background import model_of, needs_background, state_of
from fastmrcnn.weights.plain_resnet import plain_name, renamed
from fastmrcnn.weights.states import buildable, check_state, classes_of, count_of, depth_of, size_of

__all__ = ["from_mmdetection", "is_mmdetection_state", "to_mmdetection"]

_OUR_TO_THEIR = [
    (r"^fpn\.lateral\.(\d)\.conv\.", r"neck.lateral_convs.\1.conv."),
    (r"^fpn\.output\.(\d)\.conv\.", r"neck.fpn_convs.\1.conv."),
    (r"^rpn\.head\.convs\.0\.", "rpn_head.rpn_conv."),
    (r"^rpn\.head\.objectness\.", "rpn_head.rpn_cls."),
    (r"^rpn\.head\.deltas\.", "rpn_head.rpn_reg."),
    (r"^roi_heads\.box_head\.layers\.(\d)\.linear\.", r"roi_head.bbox_head.shared_fcs.\1."),
    (r"^roi_heads\.box_head\.classifier\.", "roi_head.bbox_head.fc_cls."),
    (r"^roi_heads\.box_head\.deltas\.", "roi_head.bbox_head.fc_reg."),
    (r"^roi_heads\.mask_head\.convs\.(\d)\.conv\.", r"roi_head.mask_head.convs.\1.conv."),
    (r"^roi_heads\.mask_head\.upsample\.", "roi_head.mask_head.upsample."),
    (r"^roi_heads\.mask_head\.logits\.", "roi_head.mask_head.conv_logits."),
]
_EXPECTED = "to_mmdetection: expected a network that mmdetection's mask_rcnn_r50_fpn and its relatives have; "


def mmdetection_name(name: str) -> str:
    """mmdetection's name of our tensor ``name``.

    >>> mmdetection_name("backbone.stages.3.0.shortcut.norm.weight")
    'backbone.layer4.0.downsample.1.weight'
    """
    if name.startswith("backbone."):
        return "backbone." + plain_name(name.removeprefix("backbone."))
    theirs = renamed(name, _OUR_TO_THEIR)
    if theirs == name:
        raise UserError(f"{_EXPECTED}it has nothing like {name!r}")
    return theirs


def is_mmdetection_state(state: Mapping[str, object]) -> bool:
    """Does this look like a state_dict of one of mmdetection's two-stage detectors?"""
    return "rpn_head.rpn_cls.weight" in state


def from_mmdetection(
    state: Mapping[str, Tensor],
    *,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] = (),
    style: MMDetectionStyle | None = None,
    source: str = "state_dict",
) -> MaskRCNN:
    """The model of a state_dict of mmdetection's ``mask_rcnn_r50_fpn``, ``faster_rcnn_r50_fpn`` or a relative with
    another ResNet or ResNeXt, of version 2 or 3.

    It detects what mmdetection detects (:func:`fastmrcnn.models.mmdetection_rcnn` names what is left).

    Args:
        class_names: of the foreground classes. Left out: COCO's where the weights have its 80, else class-1, ...
        category_ids: the data set's ids of the classes; COCO's, or 1, 2, .. when left out.
        style: where the backbone comes from, which the tensors do not show: "caffe" for the configurations that have
            it in their names. Left out: "caffe2" for a ResNeXt of 32 groups of width 8, else "pytorch".
        source: names the weights in errors.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        UserError: the tensors are not those of such a model.
    """
    check_state(state, "mmdetection's R-CNN", is_mmdetection_state(state), source)
    state = {name: tensor for name, tensor in state.items() if not name.startswith("data_preprocessor.")}
    with buildable(source):
        config = _infer_config(state, class_names, category_ids, style, source)
    return model_of(config, state, mmdetection_name, source)


def to_mmdetection(model: MaskRCNN) -> dict[str, Tensor]:
    """The state_dict of the same model in mmdetection 2 and 3; shares tensors with ``model`` where they are the same.

    Raises:
        UserError: the network has parts that mmdetection's does not have.
    """
    config = model.config
    if config.neck != "fpn" or config.rpn.convolutions != 1:
        raise UserError(f"{_EXPECTED}its neck is {config.neck}, with {config.rpn.convolutions} convolutions in the RPN")
    if config.box_head is None:
        raise UserError(f"{_EXPECTED}it has no box head")
    if config.backbone.norm in ("gn", "gn32"):
        raise UserError(f"{_EXPECTED}the norm of its backbone is {config.backbone.norm}")
    state = _with_counters(model.state_dict())
    for name in state:
        if name.endswith(".conv.bias") and name.startswith("backbone."):
            raise UserError(f"{_EXPECTED}its convolutions have no {name!r}")
    if (need := needs_background(config)) is not None:
        raise UserError(f"{_EXPECTED}its background has no {need}")
    return state_of(state, config, mmdetection_name)


def _with_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With the number of batches seen beside all statistics: those of mmdetection count although they are frozen."""
    counters = (name.replace("running_var", "num_batches_tracked") for name in state if name.endswith("running_var"))
    return {**state, **{name: torch.tensor(0) for name in counters if name not in state}}


def _infer_config(
    state: Mapping[str, Tensor],
    class_names: Sequence[str] | None,
    category_ids: Sequence[int],
    style: MMDetectionStyle | None,
    source: str,
) -> MaskRCNNConfig:
    names, ids = _classes(state, class_names, category_ids, source)
    bottlenecks, blocks = (
        "backbone.layer1.0.conv3.weight" in state,
        count_of(state, "backbone.layer3.", ".conv1.weight"),
    )
    inner = size_of(state, "backbone.layer1.0.conv2.weight", 64)
    width = size_of(state, "backbone.layer1.0.conv2.weight", 64, axis=1)
    stem = max(size_of(state, "backbone.conv1.weight", 64), 1)
    groups, group_width = (max(inner // max(width, 1), 1), width * 64 // stem) if bottlenecks else (1, 64)
    config = mmdetection_rcnn(
        names,
        ids,
        depth=depth_of(bottlenecks, blocks, "layer3", source),
        groups=groups,
        group_width=group_width,
        style=style or ("caffe2" if (groups, group_width) == (32, 8) else "pytorch"),
        masks="roi_head.mask_head.conv_logits.weight" in state,
    )
    assert config.box_head is not None
    mask_head, several = config.mask_head, len(names) > 1
    if mask_head is not None:
        mask_head = replace(
            mask_head,
            channels=size_of(state, "roi_head.mask_head.conv_logits.weight", 256, axis=1),
            convolutions=count_of(state, "roi_head.mask_head.convs.", ".conv.weight"),
            class_agnostic=several and size_of(state, "roi_head.mask_head.conv_logits.weight", 0) == 1,
        )
    return replace(
        config,
        backbone=replace(config.backbone, width=stem),
        fpn=replace(config.fpn, channels=size_of(state, "neck.lateral_convs.0.conv.weight", 256)),
        rpn=replace(config.rpn, channels=_rpn_channels(state)),
        box_head=replace(
            config.box_head,
            fully_connected=count_of(state, "roi_head.bbox_head.shared_fcs.", ".weight"),
            hidden=size_of(state, "roi_head.bbox_head.shared_fcs.0.weight", 1024),
            class_agnostic=several and size_of(state, "roi_head.bbox_head.fc_reg.weight", 0) == 4,
        ),
        mask_head=mask_head,
    )


def _rpn_channels(state: Mapping[str, Tensor]) -> int | None:
    channels, inputs = (size_of(state, "rpn_head.rpn_conv.weight", 0, axis=axis) for axis in (0, 1))
    return None if channels == inputs else channels


def _classes(
    state: Mapping[str, Tensor], class_names: Sequence[str] | None, category_ids: Sequence[int], source: str
) -> tuple[Sequence[str], Sequence[int]]:
    classifier = "roi_head.bbox_head.fc_cls.weight"
    if classifier not in state:
        raise UserError(f"{source}: expected a two-stage detector of mmdetection 2 or 3; there is no {classifier!r}")
    count = size_of(state, classifier, 0) - 1
    if count < 1:
        raise UserError(f"{source}: expected {classifier!r} to have 2 rows or more; found {count + 1}")
    return classes_of(count, class_names, category_ids, source)
