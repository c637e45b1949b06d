"""The configurations of detectron2's model zoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastmrcnn.models.config import (
    ANY_SIDE,
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    Depth,
    FPNConfig,
    InputConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    MaskRCNNConfig,
    Neck,
    Norm,
    PoolerConfig,
    RPNConfig,
    as_names,
)

_ANCHOR_SIZES = (32.0, 64.0, 128.0, 256.0, 512.0)


def detectron2_rcnn(
    class_names: Sequence[str],
    category_ids: Sequence[int] = (),
    *,
    neck: Neck = "fpn",
    depth: Depth = 50,
    resnext: bool = False,
    norm: Norm = "frozen_bn",
    boxes: bool = True,
    masks: bool = True,
    keypoints: bool = False,
) -> MaskRCNNConfig:
    """Exactly the mathematics of detectron2's model zoo, for its weights and its users: R50, R101 and X101-32x8d with
    FPN, C4 or DC5 ("c5"), as Mask, Faster or Keypoint R-CNN or, without ``boxes``, region proposals alone.

    What the zoo makes of the other choices is done here too. A plain ResNet with batch normalisation, frozen or
    synchronised, strides in its 1x1 convolutions, as MSRA trained it; ResNeXt and ResNets with group normalisation
    stride in the 3x3 ones. ResNeXt divides pixels by their deviation, the others by 1. Stem and stage 2 are not
    trained. Crowds are background (detectron2 leaves them out).

    Left as they are here: detections without area are dropped before the best 100 are taken, there after.
    """
    msra = depth >= 50 and not resnext and norm not in ("gn", "gn32")
    pooler = PoolerConfig(level_rule="detectron2")
    large_pooler = PoolerConfig(output_size=14, level_rule="detectron2")
    return MaskRCNNConfig(
        as_names(class_names),
        tuple(category_ids),
        input=_input(neck, resnext),
        backbone=BackboneConfig(
            depth=depth,
            groups=32 if resnext else 1,
            group_width=8 if resnext else 64,
            stride_in_1x1=msra,
            dilated=neck == "c5",
            norm=norm,
            frozen_stages=2,
        ),
        neck=neck,
        fpn=FPNConfig(norm="none" if norm == "frozen_bn" else norm),
        rpn=_rpn(neck, boxes, keypoints),
        box_head=_box_head(neck, norm, pooler, large_pooler, keypoints) if boxes else None,
        mask_head=_mask_head(neck, norm, large_pooler) if boxes and masks else None,
        keypoint_head=_keypoint_head(large_pooler) if boxes and keypoints else None,
    )


def detectron2_lsj(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, depth: Depth = 50
) -> MaskRCNNConfig:
    """The network of detectron2's ``new_baselines`` with large-scale jitter: :func:`detectron2_rcnn` with FPN, batch
    normalisation everywhere and two convolutions in the RPN, trained from random weights throughout.

    There the statistics are those of all GPUs, as a training in several processes shares them here.
    """
    config = detectron2_rcnn(class_names, category_ids, depth=depth, norm="bn")
    return replace(config, backbone=replace(config.backbone, frozen_stages=0), rpn=replace(config.rpn, convolutions=2))


def _input(neck: Neck, resnext: bool) -> InputConfig:
    return InputConfig(
        min_size=800,
        max_size=1333,
        train_min_sizes=(640, 672, 704, 736, 768, 800),
        size_rounding="nearest",
        resampling="pil",
        channel_order="bgr",
        pixel_max=255.0,
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395) if resnext else (1.0, 1.0, 1.0),
        size_divisor=32 if neck == "fpn" else 1,
    )


def _rpn(neck: Neck, boxes: bool, keypoints: bool) -> RPNConfig:
    sizes: tuple[tuple[float, ...], ...] = (_ANCHOR_SIZES,)
    limits: dict[str, Any]
    if neck == "fpn":
        sizes = tuple((size,) for size in _ANCHOR_SIZES)
        limits = {"pre_nms_train": 2000, "pre_nms_test": 1000, "post_nms_train": 1500 if keypoints else 1000}
    else:
        limits = {"pre_nms_train": 12000, "pre_nms_test": 6000 if boxes else 12000, "post_nms_train": 2000}
    return RPNConfig(
        anchors=AnchorConfig(sizes=sizes, sizes_first=True),
        ignore_overlap=None,
        loss_mean="budget",
        post_nms_test=1000 if boxes else 2000,
        min_box_size=ANY_SIDE,
        **limits,
    )


def _box_head(
    neck: Neck, norm: Norm, pooler: PoolerConfig, large_pooler: PoolerConfig, keypoints: bool
) -> BoxHeadConfig:
    if neck == "c4":  # stage 5 reads 14x14 cells, the predictors the mean of what it makes of them
        layers: dict[str, Any] = {"pooler": large_pooler, "fully_connected": 0}
    elif norm == "frozen_bn":
        layers = {"pooler": pooler, "fully_connected": 2}
    else:  # "4conv1fc" (Wu and He 2018)
        layers = {"pooler": pooler, "convolutions": 4, "norm": norm, "fully_connected": 1}
    return BoxHeadConfig(ignore_overlap=None, smooth_l1_beta=0.5 if keypoints else 0.0, min_box_size=ANY_SIDE, **layers)


def _keypoint_head(pooler: PoolerConfig) -> KeypointHeadConfig:
    return KeypointHeadConfig(pooler=pooler, score="probability", annotation_offset=0.5)


def _mask_head(neck: Neck, norm: Norm, pooler: PoolerConfig) -> MaskHeadConfig:
    return MaskHeadConfig(
        pooler=pooler,
        convolutions=0 if neck == "c4" else 4,
        norm="none" if norm == "frozen_bn" else norm,
        target_aligned=True,
        binary_targets=True,
        paste="exact",
    )
