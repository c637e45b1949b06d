"""Reading and writing weights: the library's own safetensors files, those of other systems, and backbones alone."""

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
