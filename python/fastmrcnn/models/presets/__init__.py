"""Ready configurations. Each is a plain function; change a detail with ``dataclasses.replace``."""

from fastmrcnn.models.presets.detectron2 import detectron2_lsj, detectron2_rcnn
from fastmrcnn.models.presets.matterport import matterport_resnet_fpn
from fastmrcnn.models.presets.mmdetection import mmdetection_rcnn
from fastmrcnn.models.presets.own import (
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet34_fpn,
    maskrcnn_resnet50_c4,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet101_c4,
    maskrcnn_resnet101_fpn,
    maskrcnn_resnet152_fpn,
    maskrcnn_resnext50_32x4d_fpn,
    maskrcnn_resnext101_32x8d_fpn,
    tiny,
)
from fastmrcnn.models.presets.torchvision import (
    torchvision_fasterrcnn_resnet50_fpn,
    torchvision_fasterrcnn_resnet50_fpn_v2,
    torchvision_keypointrcnn_resnet50_fpn,
    torchvision_resnet50_fpn,
    torchvision_resnet50_fpn_v2,
)

__all__ = [
    "detectron2_lsj",
    "detectron2_rcnn",
    "maskrcnn_resnet18_fpn",
    "maskrcnn_resnet34_fpn",
    "maskrcnn_resnet50_c4",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet101_c4",
    "maskrcnn_resnet101_fpn",
    "maskrcnn_resnet152_fpn",
    "maskrcnn_resnext50_32x4d_fpn",
    "maskrcnn_resnext101_32x8d_fpn",
    "matterport_resnet_fpn",
    "mmdetection_rcnn",
    "tiny",
    "torchvision_fasterrcnn_resnet50_fpn",
    "torchvision_fasterrcnn_resnet50_fpn_v2",
    "torchvision_keypointrcnn_resnet50_fpn",
    "torchvision_resnet50_fpn",
    "torchvision_resnet50_fpn_v2",
]
