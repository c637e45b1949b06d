"""The configurations of torchvision's published models: Mask, Faster and Keypoint R-CNN, and the second versions (v2).

They compute exactly what torchvision's builders of these names compute. Crowds are background, as in the recipes that
trained the published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastmrcnn.models.config import (
    COCO_KEYPOINTS,
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    Depth,
    FPNConfig,
    InputConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    MaskRCNNConfig,
    Norm,
    PoolerConfig,
    RPNConfig,
    as_names,
)

KEYPOINT_TRAIN_SIZES = (640, 672, 704, 736, 768, 800)


def torchvision_resnet50_fpn(
    class_names: Sequence[str],
    category_ids: Sequence[int] = (),
    *,
    depth: Depth = 50,
    norm: Norm = "frozen_bn",
    norm_eps: float = 1e-5,
) -> MaskRCNNConfig:
    """``maskrcnn_resnet50_fpn``.

    ``norm`` is "frozen_bn" where torchvision loads pretrained weights, "bn" where it starts from random ones. The
    published COCO weights (V1) were trained with ``norm_eps`` 0. Every layer trains; torchvision's builder stops the
    first two stages when it starts from pretrained weights, which is ``BackboneConfig(frozen_stages=2)``.
    """
    return MaskRCNNConfig(
        as_names(class_names),
        tuple(category_ids),
        input=InputConfig(resampling="bilinear"),
        backbone=BackboneConfig(depth=depth, norm=norm, norm_eps=norm_eps),
        rpn=RPNConfig(
            anchors=AnchorConfig(rounded=True, strides="measured"),
            ignore_overlap=None,
            post_nms_train=2000,
            smooth_l1_beta=1 / 9,
        ),
        box_head=BoxHeadConfig(pooler=_pooler(7), ignore_overlap=None, smooth_l1_beta=1 / 9),
        mask_head=MaskHeadConfig(pooler=_pooler(14), target_aligned=False, paste="torchvision"),
        channels_last=False,
    )


def torchvision_resnet50_fpn_v2(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, depth: Depth = 50, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """``maskrcnn_resnet50_fpn_v2``: normalisation in the pyramid and the heads, two convolutions in the RPN, four and
    one fully connected layer in the box head.

    ``norm`` is that of all parts.
    """
    first = torchvision_resnet50_fpn(class_names, category_ids, depth=depth, norm=norm)
    assert first.box_head is not None
    assert first.mask_head is not None
    return replace(
        first,
        fpn=FPNConfig(norm=norm),
        rpn=replace(first.rpn, convolutions=2),
        box_head=replace(first.box_head, convolutions=4, fully_connected=1, norm=norm),
        mask_head=replace(first.mask_head, norm=norm),
    )


def torchvision_fasterrcnn_resnet50_fpn(
    class_names: Sequence[str],
    category_ids: Sequence[int] = (),
    *,
    depth: Depth = 50,
    norm: Norm = "frozen_bn",
    norm_eps: float = 1e-5,
) -> MaskRCNNConfig:
    """``fasterrcnn_resnet50_fpn``: :func:`torchvision_resnet50_fpn` without masks."""
    config = torchvision_resnet50_fpn(class_names, category_ids, depth=depth, norm=norm, norm_eps=norm_eps)
    return replace(config, mask_head=None)


def torchvision_fasterrcnn_resnet50_fpn_v2(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, depth: Depth = 50, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """``fasterrcnn_resnet50_fpn_v2``: :func:`torchvision_resnet50_fpn_v2` without masks."""
    return replace(torchvision_resnet50_fpn_v2(class_names, category_ids, depth=depth, norm=norm), mask_head=None)


def torchvision_keypointrcnn_resnet50_fpn(
    class_names: Sequence[str] = ("person",),
    category_ids: Sequence[int] = (),
    *,
    keypoint_names: Sequence[str] = COCO_KEYPOINTS,
    depth: Depth = 50,
    norm: Norm = "frozen_bn",
    norm_eps: float = 1e-5,
) -> MaskRCNNConfig:
    """``keypointrcnn_resnet50_fpn``: :func:`torchvision_fasterrcnn_resnet50_fpn` with keypoints, trained on images of
    several sizes."""
    config = torchvision_fasterrcnn_resnet50_fpn(class_names, category_ids, depth=depth, norm=norm, norm_eps=norm_eps)
    return replace(
        config,
        input=replace(config.input, train_min_sizes=KEYPOINT_TRAIN_SIZES),
        keypoint_head=KeypointHeadConfig(
            as_names(keypoint_names), pooler=_pooler(14), score="logit", annotation_offset=0.0
        ),
    )


def _pooler(output_size: int) -> PoolerConfig:
    return PoolerConfig(output_size=output_size, sampling_ratio=2, aligned=False)
