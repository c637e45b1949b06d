"""The project's own configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastmrcnn.models.config import (
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    Depth,
    FPNConfig,
    InputConfig,
    MaskHeadConfig,
    MaskRCNNConfig,
    Norm,
    PoolerConfig,
    RPNConfig,
    as_names,
)


def maskrcnn_resnet18_fpn(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """ResNet-18-FPN with the project's mathematics; see :func:`maskrcnn_resnet50_fpn`."""
    return _resnet_fpn(18, class_names, category_ids, norm)


def maskrcnn_resnet34_fpn(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """ResNet-34-FPN with the project's mathematics; see :func:`maskrcnn_resnet50_fpn`."""
    return _resnet_fpn(34, class_names, category_ids, norm)


def maskrcnn_resnet50_fpn(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """ResNet-50-FPN with the project's mathematics: aligned adaptive RoIAlign, exact anchors, L1 loss, exact paste.

    ``norm`` is that of the backbone: "bn" or "gn" to train from scratch, "frozen_bn" for backbones trained elsewhere.
    """
    return _resnet_fpn(50, class_names, category_ids, norm)


def maskrcnn_resnet101_fpn(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """ResNet-101-FPN with the project's mathematics; see :func:`maskrcnn_resnet50_fpn`."""
    return _resnet_fpn(101, class_names, category_ids, norm)


def maskrcnn_resnet152_fpn(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """ResNet-152-FPN with the project's mathematics; see :func:`maskrcnn_resnet50_fpn`."""
    return _resnet_fpn(152, class_names, category_ids, norm)


def maskrcnn_resnext50_32x4d_fpn(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """ResNeXt-50-32x4d-FPN with the project's mathematics; see :func:`maskrcnn_resnet50_fpn`."""
    config = maskrcnn_resnet50_fpn(class_names, category_ids, norm=norm)
    return replace(config, backbone=replace(config.backbone, groups=32, group_width=4))


def maskrcnn_resnext101_32x8d_fpn(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """ResNeXt-101-32x8d-FPN with the project's mathematics; see :func:`maskrcnn_resnet50_fpn`."""
    config = maskrcnn_resnet101_fpn(class_names, category_ids, norm=norm)
    return replace(config, backbone=replace(config.backbone, groups=32, group_width=8))


def maskrcnn_resnet50_c4(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """ResNet-50-C4 with the project's mathematics: one map of stride 16, and stage 5 in front of both heads (the
    paper's figure 4, left). See :func:`maskrcnn_resnet50_fpn`."""
    return _resnet_c4(50, class_names, category_ids, norm)


def maskrcnn_resnet101_c4(
    class_names: Sequence[str], category_ids: Sequence[int] = (), *, norm: Norm = "bn"
) -> MaskRCNNConfig:
    """ResNet-101-C4 with the project's mathematics; see :func:`maskrcnn_resnet50_c4`."""
    return _resnet_c4(101, class_names, category_ids, norm)


def _resnet_c4(depth: Depth, class_names: Sequence[str], category_ids: Sequence[int], norm: Norm) -> MaskRCNNConfig:
    pooler = PoolerConfig(output_size=14)
    return MaskRCNNConfig(
        as_names(class_names),
        tuple(category_ids),
        backbone=BackboneConfig(depth=depth, norm=norm),
        neck="c4",
        rpn=RPNConfig(
            anchors=AnchorConfig(sizes=((32, 64, 128, 256, 512),)),
            # One map gives the candidates that a pyramid has five levels for.
            pre_nms_train=12000,
            pre_nms_test=6000,
            post_nms_train=2000,
            post_nms_test=1000,
        ),
        box_head=BoxHeadConfig(pooler=pooler, fully_connected=0),
        mask_head=MaskHeadConfig(pooler=pooler, convolutions=0),
    )


def _resnet_fpn(depth: Depth, class_names: Sequence[str], category_ids: Sequence[int], norm: Norm) -> MaskRCNNConfig:
    return MaskRCNNConfig(as_names(class_names), tuple(category_ids), backbone=BackboneConfig(depth=depth, norm=norm))


def tiny(class_names: Sequence[str], category_ids: Sequence[int] = ()) -> MaskRCNNConfig:
    """A small network for small images (about 320 px): below 3.9 million parameters, trainable on a CPU in minutes.

    ResNet-18 at half width, a 64-channel pyramid, anchors and pyramid levels at half the usual sizes. Images are never
    enlarged.
    """
    return MaskRCNNConfig(
        as_names(class_names),
        tuple(category_ids),
        input=InputConfig(min_size=320, max_size=512, enlarge=False),
        backbone=BackboneConfig(depth=18, width=32, norm="bn"),
        fpn=FPNConfig(channels=64),
        rpn=RPNConfig(
            anchors=AnchorConfig(sizes=((16,), (32,), (64,), (128,), (256,))),
            samples=128,
            pre_nms_train=500,
            pre_nms_test=500,
            post_nms_train=250,
            post_nms_test=250,
        ),
        box_head=BoxHeadConfig(pooler=PoolerConfig(sampling_ratio=2, canonical_scale=112), hidden=192, samples=64),
        mask_head=MaskHeadConfig(
            pooler=PoolerConfig(output_size=14, sampling_ratio=2, canonical_scale=112), channels=64
        ),
    )
