"""Reading and writing weights: the library's own safetensors files, those of other systems, and backbones alone.

Names load what they need at first use: of the readers of other systems' files, those that a file needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmrcnn.lazy import lazy_names

if TYPE_CHECKING:
    from fastmrcnn.weights.backbones import load_backbone
    from fastmrcnn.weights.channels import with_channels
    from fastmrcnn.weights.detectron2 import from_detectron2, to_detectron2
    from fastmrcnn.weights.finetuning import load_model_for_finetuning, with_new_classes
    from fastmrcnn.weights.load import load_model, shipped_models
    from fastmrcnn.weights.matterport import from_matterport, to_matterport
    from fastmrcnn.weights.mmdetection import from_mmdetection, to_mmdetection
    from fastmrcnn.weights.store import save_model
    from fastmrcnn.weights.torchvision import from_torchvision, to_torchvision

__all__ = [
    "from_detectron2",
    "from_matterport",
    "from_mmdetection",
    "from_torchvision",
    "load_backbone",
    "load_model",
    "load_model_for_finetuning",
    "save_model",
    "shipped_models",
    "to_detectron2",
    "to_matterport",
    "to_mmdetection",
    "to_torchvision",
    "with_channels",
    "with_new_classes",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "from_detectron2": "detectron2",
        "from_matterport": "matterport",
        "from_mmdetection": "mmdetection",
        "from_torchvision": "torchvision",
        "load_backbone": "backbones",
        "load_model": "load",
        "load_model_for_finetuning": "finetuning",
        "save_model": "store",
        "shipped_models": "load",
        "to_detectron2": "detectron2",
        "to_matterport": "matterport",
        "to_mmdetection": "mmdetection",
        "to_torchvision": "torchvision",
        "with_channels": "channels",
        "with_new_classes": "finetuning",
    },
)
