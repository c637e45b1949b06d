"""The configuration of one of torchvision's models, read off the tensors of its state_dict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNNConfig, torchvision_resnet50_fpn
from fastmrcnn.models.config import (
    COCO_KEYPOINTS,
    BackboneConfig,
    BoxHeadConfig,
    FPNConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    Norm,
)
from fastmrcnn.models.presets import torchvision_keypointrcnn_resnet50_fpn
from fastmrcnn.weights.coco_classes import COCO_CLASSES
from fastmrcnn.weights.states import State, buildable, depth_of, size_of

_SCORES = "roi_heads.box_predictor.cls_score.weight"


def infer_config(
    state: State, class_names: Sequence[str] | None, category_ids: Sequence[int], norm_eps: float, source: str
) -> MaskRCNNConfig:
    """The preset of the family with the layers and sizes of ``state``, whose names are those of torchvision 0.13 on.

    What is missing or does not fit is left for the comparison with the tensors of the model that this configures.
    UserError where no network can have these sizes, or ``class_names`` are not as many as its classes.
    """
    outputs = size_of(state, _SCORES, len(COCO_CLASSES) + 1)  # the background included
    if outputs < 2:
        raise UserError(f"{source}: expected {_SCORES!r} to score a background and a class or more; found {outputs}")
    keypoints = _keypoints(state)
    names = _default_names(outputs, keypoints) if class_names is None else class_names
    if len(names) != outputs - 1:
        raise UserError(f"{source}: expected {outputs - 1} class_names, as the classifier has; got {len(names)}")
    with buildable(source):
        preset = torchvision_keypointrcnn_resnet50_fpn if keypoints > 0 else torchvision_resnet50_fpn
        config = preset(names, category_ids)
        assert config.box_head is not None
        return replace(
            config,
            backbone=_backbone(state, norm_eps, source),
            fpn=_fpn(state, source),
            rpn=replace(config.rpn, convolutions=_count(state, r"rpn\.head\.conv\.(\d+)\.0\.")),
            box_head=_box_head(state, config.box_head, source),
            mask_head=_mask_head(state, source),
            keypoint_head=_keypoint_head(state, config.keypoint_head, keypoints),
        )


def _default_names(outputs: int, keypoints: int) -> Sequence[str]:
    if outputs == len(COCO_CLASSES) + 1:
        return COCO_CLASSES
    return ["person"] if outputs == 2 and keypoints > 0 else [f"class-{label}" for label in range(1, outputs)]


def _backbone(state: State, norm_eps: float, source: str) -> BackboneConfig:
    bottleneck = any(name.startswith("backbone.body.layer1.0.conv3.") for name in state)
    blocks = _count(state, r"backbone\.body\.layer3\.(\d+)\.")
    config = BackboneConfig(
        depth=depth_of(bottleneck, blocks, "layer3", source),
        norm=_norm(state, "backbone.body.bn1", source),
        norm_eps=norm_eps,
    )
    if not bottleneck:
        return config
    inner = "backbone.body.layer1.0.conv2.weight"  # [groups * channels of a group, channels of a group, 3, 3]
    channels = max(size_of(state, inner, config.width, axis=1), 1)
    groups = size_of(state, inner, channels) // channels
    return replace(config, groups=groups, group_width=channels * 64 // config.width)


def _fpn(state: State, source: str) -> FPNConfig:
    channels = size_of(state, "backbone.fpn.inner_blocks.0.0.weight", FPNConfig.channels)
    return FPNConfig(channels=channels, norm=_norm(state, "backbone.fpn.inner_blocks.0.1", source))


def _box_head(state: State, config: BoxHeadConfig, source: str) -> BoxHeadConfig:
    prefix = r"roi_heads\.box_head\."
    convolutions = _count(state, prefix + r"(\d+)\.[01]\.")
    hidden = size_of(state, _SCORES, config.hidden, axis=1)
    if convolutions == 0:
        return replace(config, hidden=hidden)
    last = _count(state, prefix + r"(\d+)\.(?:weight|bias)$")  # one layer in two, after the flattening
    return replace(
        config,
        convolutions=convolutions,
        channels=size_of(state, "roi_heads.box_head.0.0.weight", config.channels),
        norm=_norm(state, "roi_heads.box_head.0.1", source),
        fully_connected=max(1, (last - convolutions) // 2),
        hidden=hidden,
    )


def _mask_head(state: State, source: str) -> MaskHeadConfig | None:
    if not any(name.startswith("roi_heads.mask_") for name in state):
        return None
    config = torchvision_resnet50_fpn(["any"]).mask_head
    assert config is not None
    return replace(
        config,
        channels=size_of(state, "roi_heads.mask_head.0.0.weight", config.channels),
        convolutions=_count(state, r"roi_heads\.mask_head\.(\d+)\.[01]\."),
        norm=_norm(state, "roi_heads.mask_head.0.1", source),
    )


def _keypoints(state: State) -> int:
    """How many a head draws; 0 where there is none."""
    if not any(name.startswith("roi_heads.keypoint_") for name in state):
        return 0
    return size_of(state, "roi_heads.keypoint_predictor.kps_score_lowres.weight", len(COCO_KEYPOINTS), axis=1)


def _keypoint_head(state: State, config: KeypointHeadConfig | None, keypoints: int) -> KeypointHeadConfig | None:
    if config is None:
        return None
    names = config.keypoint_names
    if keypoints != len(names):
        names = tuple(f"keypoint-{number}" for number in range(1, keypoints + 1))
    return replace(
        config,
        keypoint_names=names,
        channels=size_of(state, "roi_heads.keypoint_head.0.weight", config.channels),
        convolutions=(_count(state, r"roi_heads\.keypoint_head\.(\d+)\.") + 1) // 2,  # with rectifiers between
    )


def _norm(state: State, layer: str, source: str) -> Norm:
    """The normalisation of this name: frozen ones do not count the batches that they have seen."""
    if f"{layer}.num_batches_tracked" in state:
        return "bn"
    if f"{layer}.running_mean" in state:
        return "frozen_bn"
    if f"{layer}.weight" in state:
        raise UserError(f"{source}: expected batch normalisation; {layer!r} has no running mean, as other kinds do")
    return "none"


def _count(state: State, pattern: str) -> int:
    """One more than the greatest number that ``pattern``, anchored at the beginning of a name, finds in the names."""
    found = (re.match(pattern, name) for name in state)
    return max((int(match[1]) + 1 for match in found if match), default=0)
