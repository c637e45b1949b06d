"""The configuration of Matterport's Mask R-CNN (the ``mrcnn`` package)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastmrcnn.models.config import (
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    Depth,
    InputConfig,
    MaskHeadConfig,
    MaskRCNNConfig,
    PoolerConfig,
    RPNConfig,
    as_names,
)

_EPS = 1e-3  # Keras' default for batch normalisation
_STD = (10.0, 10.0, 5.0, 5.0)  # offsets have the deviations (0.1, 0.1, 0.2, 0.2), of the RPN too


def at_least(score: float) -> float:
    """The ``score_threshold`` that lets a score of exactly ``score`` pass: the next smaller float32."""
    return float(np.nextafter(np.float32(score), np.float32(-1)))


def matterport_resnet_fpn(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, depth: Depth = 101
) -> MaskRCNNConfig:
    """The mathematics of Matterport's ``mrcnn`` package with its default configuration, for its weights and its users.

    Inference is exactly theirs but for the last bits.

    Training teaches the same outputs, with these differences: the objects' own boxes join the proposals; where positive
    RoIs are few, negatives fill the sample; box losses are divided by all sampled boxes, not by the positive ones; a
    mask target is what the object covers, not a sample of a miniature of it. gamma and beta are as fixed as the
    statistics (there they were trained).
    """
    return MaskRCNNConfig(
        as_names(class_names),
        tuple(category_ids),
        input=InputConfig(
            min_size=800,
            max_size=1024,
            shrink=False,
            size_rounding="nearest_even",
            resampling="zero_border",
            pixel_max=255.0,
            mean=(123.7, 116.8, 103.9),
            std=(1.0, 1.0, 1.0),
            frame="centred_square",
            size_divisor=64,
        ),
        backbone=BackboneConfig(depth=depth, stride_in_1x1=True, norm_eps=_EPS, conv_bias=True, pool_padding="same"),
        rpn=RPNConfig(
            anchors=AnchorConfig(aspect_ratios=(2.0, 1.0, 0.5)),  # there width / height, in this order
            channels=512,
            objectness="softmax",
            ignore_overlap=0.001,
            pre_nms_train=6000,
            pre_nms_test=6000,
            post_nms_train=2000,
            post_nms_test=1000,
            across_levels=True,
            min_box_size=0.0,
            box_weights=_STD,
            delta_clip=None,
            smooth_l1_beta=1.0,
        ),
        box_head=BoxHeadConfig(
            pooler=PoolerConfig(output_size=7, method="crop_and_resize", nearest_level=True),
            fully_connected_norm="frozen_bn",
            norm_eps=_EPS,
            ignore_overlap=0.001,
            samples=200,
            positive_fraction=0.33,
            box_weights=_STD,
            delta_clip=None,
            smooth_l1_beta=1.0,
            best_class_only=True,
            score_threshold=at_least(0.7),
            nms_iou=0.3,
            min_box_size=0.0,
            detections=100,
        ),
        mask_head=MaskHeadConfig(
            pooler=PoolerConfig(output_size=14, method="crop_and_resize", nearest_level=True),
            norm="frozen_bn",
            norm_eps=_EPS,
            conv_bias=True,
            binary_targets=True,
            paste="skimage",
        ),
        box_corners="pixels",
    )
