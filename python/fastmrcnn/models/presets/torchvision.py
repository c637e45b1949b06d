"""The configurations of torchvision's published models."""

from __future__ import annotations

from collections.abc import Sequence

from fastmrcnn.models.config import (
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    Depth,
    InputConfig,
    MaskHeadConfig,
    MaskRCNNConfig,
    Norm,
    PoolerConfig,
    RPNConfig,
    as_names,
)


def torchvision_resnet50_fpn(
    class_names: Sequence[str],
    category_ids: Sequence[int] = (),
    *,
    depth: Depth = 50,
    norm: Norm = "frozen_bn",
    norm_eps: float = 1e-5,
) -> MaskRCNNConfig:
    """Exactly the mathematics of torchvision's ``maskrcnn_resnet50_fpn``, for its weights and its users. Crowds are
    background, as in the recipe that trained these weights.

    ``norm`` is "frozen_bn" where torchvision loads pretrained weights, "bn" where it starts from random ones. The
    published COCO weights (V1) were trained with ``norm_eps`` 0.
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
        box_head=BoxHeadConfig(
            pooler=PoolerConfig(sampling_ratio=2, aligned=False), ignore_overlap=None, smooth_l1_beta=1 / 9
        ),
        mask_head=MaskHeadConfig(
            pooler=PoolerConfig(output_size=14, sampling_ratio=2, aligned=False),
            target_aligned=False,
            paste="torchvision",
        ),
        channels_last=False,
    )
