"""What a model is made of, as frozen dataclasses: one per component, checked on construction.

Published families agree on the architecture and differ in details of its mathematics (rounding of anchors, RoIAlign's
half pixel, paste, ...). Every such detail is a field here, never a constant in a module; a family is a preset
(:mod:`fastmrcnn.models.presets`) that sets them. Pixels are those of the network's input unless said otherwise.
"""

from fastmrcnn.models.config.backbone import BackboneConfig, Depth, FPNConfig, Neck, Norm
from fastmrcnn.models.config.checks import as_names
from fastmrcnn.models.config.heads import (
    COCO_KEYPOINTS,
    BoxHeadConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    NMSMethod,
    PasteMethod,
    PoolerConfig,
)
from fastmrcnn.models.config.input import InputConfig, Resampling
from fastmrcnn.models.config.model import BoxCorners, MaskRCNNConfig
from fastmrcnn.models.config.rpn import ANY_SIDE, DELTA_CLIP, AnchorConfig, RPNConfig

__all__ = [
    "ANY_SIDE",
    "COCO_KEYPOINTS",
    "DELTA_CLIP",
    "AnchorConfig",
    "BackboneConfig",
    "BoxCorners",
    "BoxHeadConfig",
    "Depth",
    "FPNConfig",
    "InputConfig",
    "KeypointHeadConfig",
    "MaskHeadConfig",
    "MaskRCNNConfig",
    "NMSMethod",
    "Neck",
    "Norm",
    "PasteMethod",
    "PoolerConfig",
    "RPNConfig",
    "Resampling",
    "as_names",
]
