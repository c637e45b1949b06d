"""What is compared: the network of each variant, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.study.setting import Setting
from fastmrcnn.models import (
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    FPNConfig,
    InputConfig,
    MaskHeadConfig,
    MaskRCNNConfig,
    PoolerConfig,
    RPNConfig,
)

ANCHOR_SIZES = (16.0, 32.0, 64.0, 128.0, 256.0)  # px, half of the usual ones, as the objects are
CANONICAL_SCALE = 112.0  # px, likewise
SAMPLING_RATIO = 2
POSITIVE_FRACTION = 0.5  # of the RoIs
DETECTIONS = 50  # an image

# "train": fastmrcnn.training. "mask_head_last": boxes by that, then the mask head alone on what they left. "rpn_first":
# proposals by that, then a network of its own on them. "torchvision": its own modules and a plain loop.
Training = Literal["train", "mask_head_last", "rpn_first", "torchvision"]


@dataclass(frozen=True)
class Variant:
    """A change of the baseline."""

    title: str
    change: Callable[[MaskRCNNConfig], MaskRCNNConfig] = lambda config: config
    training: Training = "train"


def baseline(setting: Setting) -> MaskRCNNConfig:
    """Mask R-CNN with FPN, RoIAlign and sigmoid masks."""
    pooler = PoolerConfig(sampling_ratio=SAMPLING_RATIO, canonical_scale=CANONICAL_SCALE)
    return MaskRCNNConfig(
        setting.classes,
        input=InputConfig(min_size=setting.side, max_size=setting.side),
        backbone=BackboneConfig(depth=18, width=setting.width, norm="frozen_bn"),
        fpn=FPNConfig(channels=setting.channels),
        rpn=RPNConfig(
            anchors=AnchorConfig(sizes=tuple((size,) for size in ANCHOR_SIZES)),
            samples=setting.anchors,
            pre_nms_train=2 * setting.proposals,
            pre_nms_test=2 * setting.proposals,
            post_nms_train=setting.proposals,
            post_nms_test=setting.proposals,
        ),
        box_head=BoxHeadConfig(
            pooler=pooler,
            hidden=setting.hidden,
            samples=setting.rois,
            positive_fraction=POSITIVE_FRACTION,
            detections=DETECTIONS,
        ),
        mask_head=MaskHeadConfig(pooler=replace(pooler, output_size=14), channels=setting.channels),
    )


def with_roi_pool(config: MaskRCNNConfig) -> MaskRCNNConfig:
    assert config.box_head is not None
    assert config.mask_head is not None
    return replace(
        config,
        box_head=replace(config.box_head, pooler=replace(config.box_head.pooler, method="roi_pool")),
        mask_head=replace(config.mask_head, pooler=replace(config.mask_head.pooler, method="roi_pool")),
    )


def with_softmax_masks(config: MaskRCNNConfig) -> MaskRCNNConfig:
    assert config.mask_head is not None
    return replace(config, mask_head=replace(config.mask_head, activation="softmax"))


def without_masks(config: MaskRCNNConfig) -> MaskRCNNConfig:
    return replace(config, mask_head=None)


def with_c4(config: MaskRCNNConfig) -> MaskRCNNConfig:
    """Figure 4 of the paper, left: one map of stride 16, and stage 5 on 14 x 14 cells in front of both heads."""
    assert config.box_head is not None
    assert config.mask_head is not None
    pooler = replace(config.mask_head.pooler, output_size=14)
    sizes = tuple(size for (size,) in config.rpn.anchors.sizes)
    return replace(
        config,
        neck="c4",
        rpn=replace(
            config.rpn,
            anchors=replace(config.rpn.anchors, sizes=(sizes,)),
            # The one map gives as many candidates as the five levels together.
            pre_nms_train=len(sizes) * config.rpn.pre_nms_train,
            pre_nms_test=len(sizes) * config.rpn.pre_nms_test,
        ),
        box_head=replace(config.box_head, pooler=pooler, fully_connected=0),
        mask_head=replace(config.mask_head, pooler=pooler, convolutions=0),
    )


def with_c4_and_roi_pool(config: MaskRCNNConfig) -> MaskRCNNConfig:
    return with_roi_pool(with_c4(config))


BASELINE = "baseline"
VARIANTS: dict[str, Variant] = {
    BASELINE: Variant("baseline: FPN, RoIAlign, sigmoid, mask branch, end to end"),
    "roi_pool": Variant("RoIPool in place of RoIAlign", with_roi_pool),
    "softmax": Variant("softmax masks in place of sigmoid", with_softmax_masks),
    "c4": Variant("C4 in place of FPN", with_c4),
    "c4_roi_pool": Variant("C4 with RoIPool", with_c4_and_roi_pool),
    "box_only": Variant("without the mask branch", without_masks),
    "mask_head_last": Variant("box-only, then the mask head on the frozen detector", training="mask_head_last"),
    "rpn_first": Variant("RPN first, then a second network on its proposals", training="rpn_first"),
    "torchvision": Variant("torchvision's MaskRCNN, its own losses", training="torchvision"),
}
