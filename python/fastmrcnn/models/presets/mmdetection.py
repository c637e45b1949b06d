"""The configurations of mmdetection's Mask and Faster R-CNNs with a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fastmrcnn.models.config import (
    ANY_SIDE,
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

# Where a ResNet comes from, and with it what it expects: torchvision ("pytorch"), MSRA's Caffe ("caffe"), or Caffe2
# (ResNeXt-101-32x8d).
MMDetectionStyle = Literal["pytorch", "caffe", "caffe2"]

_RGB: dict[str, Any] = {"channel_order": "rgb", "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
_BGR: dict[str, Any] = {"channel_order": "bgr", "mean": (103.53, 116.28, 123.675)}
_INPUTS: dict[str, dict[str, Any]] = {
    "pytorch": _RGB,
    "caffe": _BGR | {"std": (1.0, 1.0, 1.0)},
    "caffe2": _BGR | {"std": (57.375, 57.12, 58.395)},
}


def mmdetection_rcnn(
    class_names: Sequence[str],
    category_ids: Sequence[int] = (),
    *,
    depth: Depth = 50,
    groups: int = 1,
    group_width: int = 64,
    style: MMDetectionStyle = "pytorch",
    masks: bool = True,
) -> MaskRCNNConfig:
    """The mathematics of mmdetection's ``mask_rcnn_r50_fpn`` and its relatives, versions 2 and 3, for their weights.

    Images are resized by OpenCV's rule; the backbone normalises by its running statistics in training too, and its stem
    and stage 2 are not trained; proposals, regions, detections and masks as in detectron2.

    Left as they are here: a side shrinks as far as its delta says, there 62.5 times at most; the level of a region is
    torchvision's, which differs where its side is within a millionth of a border; in training, every object keeps its
    best anchors, there those of an IoU of 0.3 at least.
    """
    heads: dict[str, Any] = {"ignore_overlap": None}
    return MaskRCNNConfig(
        as_names(class_names),
        tuple(category_ids),
        input=InputConfig(size_rounding="nearest_at_once", resampling="opencv", pixel_max=255.0, **_INPUTS[style]),
        backbone=BackboneConfig(
            depth=depth,
            groups=groups,
            group_width=group_width,
            stride_in_1x1=style == "caffe" and depth >= 50,
            norm="bn",
            frozen_stages=2,
            frozen_statistics=True,
        ),
        rpn=RPNConfig(min_box_size=ANY_SIDE, **heads),
        box_head=BoxHeadConfig(min_box_size=ANY_SIDE, **heads),
        mask_head=MaskHeadConfig(pooler=PoolerConfig(output_size=14), binary_targets=True) if masks else None,
    )
