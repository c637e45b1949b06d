"""The configuration of a detectron2 model, read off the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNNConfig, detectron2_rcnn
from fastmrcnn.models.config import (
    COCO_KEYPOINTS,
    BackboneConfig,
    BoxHeadConfig,
    Depth,
    KeypointHeadConfig,
    MaskHeadConfig,
    Neck,
    Norm,
    RPNConfig,
)
from fastmrcnn.weights.states import State, buildable, classes_of, count_of, depth_of, size_of

__all__ = ["infer_config"]


def infer_config(
    state: State, class_names: Sequence[str] | None, category_ids: Sequence[int], source: str
) -> MaskRCNNConfig:
    """The zoo's configuration of this architecture, with the widths and the number of classes of the tensors."""
    with buildable(source):
        return _infer_config(state, class_names, category_ids, source)


def _infer_config(
    state: State, class_names: Sequence[str] | None, category_ids: Sequence[int], source: str
) -> MaskRCNNConfig:
    neck = _neck(state, source)
    bottom_up = "backbone.bottom_up." if neck == "fpn" else "backbone."
    groups, _ = _groups(state, bottom_up, source)
    names, ids = _classes(state, class_names, category_ids, source)
    config = detectron2_rcnn(
        names,
        ids,
        neck=neck,
        depth=_depth(state, bottom_up, source),
        resnext=groups > 1,
        norm=_norm(state, bottom_up + "stem.conv1"),
        boxes="roi_heads.box_predictor.cls_score.weight" in state,
        masks="roi_heads.mask_head.predictor.weight" in state,
        keypoints="roi_heads.keypoint_head.score_lowres.weight" in state,
    )
    return replace(
        config,
        backbone=_backbone(config.backbone, state, bottom_up, source),
        fpn=replace(
            config.fpn,
            norm=_norm(state, "backbone.fpn_lateral2"),
            channels=size_of(state, "backbone.fpn_lateral2.weight", config.fpn.channels),
        ),
        rpn=_rpn(config.rpn, state),
        box_head=config.box_head and _box_head(config.box_head, state, len(names)),
        mask_head=config.mask_head and _mask_head(config.mask_head, state, len(names)),
        keypoint_head=config.keypoint_head and _keypoint_head(config.keypoint_head, state),
    )


def _neck(state: State, source: str) -> Neck:
    if "backbone.fpn_lateral2.weight" in state:
        return "fpn"
    if "backbone.res5.0.conv1.weight" in state:
        return "c5"
    if "backbone.res4.0.conv1.weight" in state:
        return "c4"
    raise UserError(f"{source}: expected a ResNet with or without FPN; there is no 'backbone.fpn_lateral2.weight'")


def _depth(state: State, bottom_up: str, source: str) -> Depth:
    bottlenecks = f"{bottom_up}res2.0.conv3.weight" in state
    blocks = count_of(state, f"{bottom_up}res4.", ".conv1.weight")
    return depth_of(bottlenecks, blocks, "res4", source)


def _groups(state: State, bottom_up: str, source: str) -> tuple[int, int]:
    """(groups, channels of a group) of the 3x3 convolutions of stage 2."""
    name = f"{bottom_up}res2.0.conv2.weight"
    if name not in state or state[name].ndim != 4:
        raise UserError(f"{source}: expected a convolution {name!r}; it is missing or of another kind")
    outputs, width = state[name].shape[:2]
    return max(outputs // max(width, 1), 1), width


def _backbone(config: BackboneConfig, state: State, bottom_up: str, source: str) -> BackboneConfig:
    width = size_of(state, f"{bottom_up}stem.conv1.weight", 64)
    groups, group_width = _groups(state, bottom_up, source)
    if not config.has_bottlenecks:
        return replace(config, width=width)
    return replace(config, width=width, groups=groups, group_width=group_width * 64 // max(width, 1))


def _rpn(config: RPNConfig, state: State) -> RPNConfig:
    conv = "proposal_generator.rpn_head.conv."
    several = count_of(state, f"{conv}conv", ".weight")
    first = f"{conv}conv0.weight" if several else f"{conv}weight"
    channels, inputs = size_of(state, first, 0), size_of(state, first, 0, axis=1)
    return replace(config, convolutions=max(several, 1), channels=None if channels == inputs else channels)


def _classes(
    state: State, class_names: Sequence[str] | None, category_ids: Sequence[int], source: str
) -> tuple[Sequence[str], Sequence[int]]:
    """(names, ids) of the foreground classes."""
    classifier = "roi_heads.box_predictor.cls_score.weight"
    outputs = size_of(state, classifier, 2)  # the background included; region proposals alone have one class
    if outputs < 2:
        raise UserError(f"{source}: expected {classifier!r} to have 2 rows or more; found {outputs}")
    if class_names is None and classifier not in state:
        class_names = ["object"]
    if class_names is None and outputs == 2 and "roi_heads.keypoint_head.score_lowres.weight" in state:
        class_names = ["person"]
    return classes_of(outputs - 1, class_names, category_ids, source)


def _box_head(config: BoxHeadConfig, state: State, classes: int) -> BoxHeadConfig:
    head = "roi_heads.box_head."
    return replace(
        config,
        convolutions=count_of(state, f"{head}conv", ".weight", first=1),
        channels=size_of(state, f"{head}conv1.weight", config.channels),
        norm=_norm(state, f"{head}conv1"),
        fully_connected=count_of(state, f"{head}fc", ".weight", first=1),
        hidden=size_of(state, f"{head}fc1.weight", config.hidden),
        class_agnostic=classes > 1 and size_of(state, "roi_heads.box_predictor.bbox_pred.weight", 0) == 4,
    )


def _mask_head(config: MaskHeadConfig, state: State, classes: int) -> MaskHeadConfig:
    head = "roi_heads.mask_head."
    return replace(
        config,
        convolutions=count_of(state, f"{head}mask_fcn", ".weight", first=1),
        channels=size_of(state, f"{head}predictor.weight", config.channels, axis=1),
        norm=_norm(state, f"{head}mask_fcn1"),
        class_agnostic=classes > 1 and size_of(state, f"{head}predictor.weight", 0) == 1,
    )


def _keypoint_head(config: KeypointHeadConfig, state: State) -> KeypointHeadConfig:
    head = "roi_heads.keypoint_head."
    count = size_of(state, f"{head}score_lowres.weight", len(COCO_KEYPOINTS), axis=1)
    names = tuple(f"keypoint-{index}" for index in range(1, count + 1))
    return replace(
        config,
        keypoint_names=COCO_KEYPOINTS if count == len(COCO_KEYPOINTS) else names,
        convolutions=count_of(state, f"{head}conv_fcn", ".weight", first=1),
        channels=size_of(state, f"{head}conv_fcn1.weight", config.channels),
    )


def _norm(state: State, convolution: str) -> Norm:
    """The kind of normalisation behind a convolution."""
    if f"{convolution}.norm.weight" not in state:
        return "none"
    if f"{convolution}.norm.num_batches_tracked" in state:
        return "bn"
    return "frozen_bn" if f"{convolution}.norm.running_mean" in state else "gn32"
