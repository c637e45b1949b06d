"""The architectures that a run can start from random weights, by name.

The names are known without torch, so that the command line can check and list them at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastmrcnn.errors import UserError

if TYPE_CHECKING:
    from fastmrcnn.models import MaskRCNNConfig

__all__ = ["ARCHITECTURES", "architecture", "check_architecture"]

_OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("tiny", {}),
    **{f"resnet{depth}_fpn": (f"maskrcnn_resnet{depth}_fpn", {}) for depth in (18, 34, 50, 101, 152)},
    "resnext50_32x4d_fpn": ("maskrcnn_resnext50_32x4d_fpn", {}),
    "resnext101_32x8d_fpn": ("maskrcnn_resnext101_32x8d_fpn", {}),
    **{f"resnet{depth}_c4": (f"maskrcnn_resnet{depth}_c4", {}) for depth in (50, 101)},
}

_TORCHVISION: dict[str, tuple[str, dict[str, Any]]] = {
    "maskrcnn_resnet50_fpn": ("torchvision_resnet50_fpn", {}),
    "maskrcnn_resnet50_fpn_v2": ("torchvision_resnet50_fpn_v2", {}),
    "fasterrcnn_resnet50_fpn": ("torchvision_fasterrcnn_resnet50_fpn", {}),
    "fasterrcnn_resnet50_fpn_v2": ("torchvision_fasterrcnn_resnet50_fpn_v2", {}),
    "keypointrcnn_resnet50_fpn": ("torchvision_keypointrcnn_resnet50_fpn", {}),
}

_KINDS: dict[str, dict[str, Any]] = {
    "mask_rcnn": {},
    "faster_rcnn": {"masks": False},
    "keypoint_rcnn": {"masks": False, "keypoints": True},
}
_BACKBONES: dict[str, dict[str, Any]] = {
    "R_50_C4": {"neck": "c4"},
    "R_50_DC5": {"neck": "c5"},
    "R_50_FPN": {},
    "R_101_C4": {"neck": "c4", "depth": 101},
    "R_101_DC5": {"neck": "c5", "depth": 101},
    "R_101_FPN": {"depth": 101},
    "X_101_32x8d_FPN": {"depth": 101, "resnext": True},
}
_DETECTRON2: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"{kind}_{backbone}": ("detectron2_rcnn", heads | trunk)
        for kind, heads in _KINDS.items()
        for backbone, trunk in _BACKBONES.items()
        if kind != "keypoint_rcnn" or backbone.endswith("FPN")
    },
    "rpn_R_50_C4": ("detectron2_rcnn", {"neck": "c4", "boxes": False}),
    "rpn_R_50_FPN": ("detectron2_rcnn", {"boxes": False}),
    "mask_rcnn_R_50_FPN_syncbn": ("detectron2_rcnn", {"norm": "sync_bn"}),
    "mask_rcnn_R_50_FPN_gn": ("detectron2_rcnn", {"norm": "gn32"}),
    "mask_rcnn_R_50_FPN_LSJ": ("detectron2_lsj", {}),
    "mask_rcnn_R_101_FPN_LSJ": ("detectron2_lsj", {"depth": 101}),
}

_TRUNKS: dict[str, dict[str, Any]] = {
    "r50": {},
    "r101": {"depth": 101},
    "x101_32x4d": {"depth": 101, "groups": 32, "group_width": 4},
    "x101_64x4d": {"depth": 101, "groups": 64, "group_width": 4},
}
_MMDETECTION: dict[str, tuple[str, dict[str, Any]]] = {
    f"{kind}_{name}_fpn": ("mmdetection_rcnn", {"masks": kind == "mask_rcnn"} | trunk)
    for kind in ("mask_rcnn", "faster_rcnn")
    for name, trunk in _TRUNKS.items()
}

_MATTERPORT: dict[str, tuple[str, dict[str, Any]]] = {
    f"mask_rcnn_resnet{depth}": ("matterport_resnet_fpn", {"depth": depth}) for depth in (50, 101)
}

# Name -> a function of fastmrcnn.models.presets and its keyword arguments. A name of another family gives the network
# that it publishes under this name (but for the schedule at its end), with its mathematics.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    **_OWN,
    **{f"torchvision/{name}": preset for name, preset in _TORCHVISION.items()},
    **{f"detectron2/{name}": preset for name, preset in _DETECTRON2.items()},
    **{f"mmdetection/{name}": preset for name, preset in _MMDETECTION.items()},
    **{f"matterport/{name}": preset for name, preset in _MATTERPORT.items()},
}


def architecture(name: str, class_names: Sequence[str], category_ids: Sequence[int] = ()) -> MaskRCNNConfig:
    """The configuration of a network of this name for these classes.

    Raises:
        UserError: no architecture has this name; all are listed.

    >>> architecture("detectron2/mask_rcnn_R_50_C4", ["cat", "dog"]).neck
    'c4'
    """
    from fastmrcnn.models import presets

    check_architecture(name)
    preset, options = ARCHITECTURES[name]
    config: MaskRCNNConfig = getattr(presets, preset)(class_names, category_ids, **options)
    return config


def check_architecture(name: str) -> None:
    """``UserError`` with all names where ``name`` is none of them."""
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"model must be one of {', '.join(ARCHITECTURES)}; got {name!r}{hint}")
