"""Mask R-CNN, from its configuration to the assembled network."""

from fastmrcnn.models.config import (
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    FPNConfig,
    InputConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    MaskRCNNConfig,
    PoolerConfig,
    RPNConfig,
)
from fastmrcnn.models.fixed_capacity import FixedCapacityDetector, GraphedDetector
from fastmrcnn.models.instances import PaddedInstances
from fastmrcnn.models.mask_rcnn import MaskRCNN
from fastmrcnn.models.presets import (
    detectron2_rcnn,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet34_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet101_fpn,
    matterport_resnet_fpn,
    mmdetection_rcnn,
    tiny,
    torchvision_fasterrcnn_resnet50_fpn,
    torchvision_fasterrcnn_resnet50_fpn_v2,
    torchvision_keypointrcnn_resnet50_fpn,
    torchvision_resnet50_fpn,
    torchvision_resnet50_fpn_v2,
)

__all__ = [
    "AnchorConfig",
    "BackboneConfig",
    "BoxHeadConfig",
    "FPNConfig",
    "FixedCapacityDetector",
    "GraphedDetector",
    "InputConfig",
    "KeypointHeadConfig",
    "MaskHeadConfig",
    "MaskRCNN",
    "MaskRCNNConfig",
    "PaddedInstances",
    "PoolerConfig",
    "RPNConfig",
    "detectron2_rcnn",
    "maskrcnn_resnet18_fpn",
    "maskrcnn_resnet34_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet101_fpn",
    "matterport_resnet_fpn",
    "mmdetection_rcnn",
    "tiny",
    "torchvision_fasterrcnn_resnet50_fpn",
    "torchvision_fasterrcnn_resnet50_fpn_v2",
    "torchvision_keypointrcnn_resnet50_fpn",
    "torchvision_resnet50_fpn",
    "torchvision_resnet50_fpn_v2",
]
