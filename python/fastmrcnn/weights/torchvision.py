"""Weights of torchvision's ``maskrcnn_resnet*_fpn``: its names for our tensors, both ways."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig, torchvision_resnet50_fpn
from fastmrcnn.models.config import Depth
from fastmrcnn.weights.coco_classes import COCO_CLASSES
from fastmrcnn.weights.store import build_model

# Our names -> torchvision's, by the beginning of the name; the first rule that matches wins.
_OUR_TO_THEIR = [
    (r"backbone\.stem\.conv1\.conv\.", "backbone.body.conv1."),
    (r"backbone\.stem\.conv1\.norm\.", "backbone.body.bn1."),
    (r"backbone\.stages\.(\d+)\.(\d+)\.conv(\d)\.conv\.", r"backbone.body.layer<\1>.\2.conv\3."),
    (r"backbone\.stages\.(\d+)\.(\d+)\.conv(\d)\.norm\.", r"backbone.body.layer<\1>.\2.bn\3."),
    (r"backbone\.stages\.(\d+)\.(\d+)\.shortcut\.conv\.", r"backbone.body.layer<\1>.\2.downsample.0."),
    (r"backbone\.stages\.(\d+)\.(\d+)\.shortcut\.norm\.", r"backbone.body.layer<\1>.\2.downsample.1."),
    (r"fpn\.lateral\.(\d+)\.conv\.", r"backbone.fpn.inner_blocks.\1.0."),
    (r"fpn\.output\.(\d+)\.conv\.", r"backbone.fpn.layer_blocks.\1.0."),
    (r"rpn\.head\.convs\.(\d+)\.", r"rpn.head.conv.\1.0."),
    (r"rpn\.head\.objectness\.", "rpn.head.cls_logits."),
    (r"rpn\.head\.deltas\.", "rpn.head.bbox_pred."),
    (r"roi_heads\.box_head\.layers\.0\.linear\.", "roi_heads.box_head.fc6."),
    (r"roi_heads\.box_head\.layers\.1\.linear\.", "roi_heads.box_head.fc7."),
    (r"roi_heads\.box_head\.classifier\.", "roi_heads.box_predictor.cls_score."),
    (r"roi_heads\.box_head\.deltas\.", "roi_heads.box_predictor.bbox_pred."),
    (r"roi_heads\.mask_head\.convs\.(\d+)\.conv\.", r"roi_heads.mask_head.\1.0."),
    (r"roi_heads\.mask_head\.upsample\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"roi_heads\.mask_head\.logits\.", "roi_heads.mask_predictor.mask_fcn_logits."),
]

# Names of files written before torchvision 0.13 -> today's.
_OLD_TO_NEW = [
    (r"backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)", r"backbone.fpn.\1_blocks.\2.0.\3"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
    (r"roi_heads\.mask_head\.mask_fcn1\.(weight|bias)", r"roi_heads.mask_head.0.0.\1"),
    (r"roi_heads\.mask_head\.mask_fcn2\.(weight|bias)", r"roi_heads.mask_head.1.0.\1"),
    (r"roi_heads\.mask_head\.mask_fcn3\.(weight|bias)", r"roi_heads.mask_head.2.0.\1"),
    (r"roi_heads\.mask_head\.mask_fcn4\.(weight|bias)", r"roi_heads.mask_head.3.0.\1"),
]

_BLOCKS_OF_STAGE_4: dict[tuple[bool, int], Depth] = {
    (False, 2): 18,
    (False, 6): 34,
    (True, 6): 50,
    (True, 23): 101,
    (True, 36): 152,
}


def torchvision_name(name: str) -> str:
    """torchvision's name of our tensor ``name``.

    >>> torchvision_name("backbone.stages.3.0.shortcut.norm.weight")
    'backbone.body.layer4.0.downsample.1.weight'
    """
    for pattern, replacement in _OUR_TO_THEIR:
        renamed, count = re.subn("^" + pattern, replacement, name)
        if count:
            return re.sub(r"<(\d+)>", lambda stage: str(int(stage[1]) + 1), renamed)
    raise ValueError(f"torchvision_name: expected a tensor that torchvision's Mask R-CNN has; got {name!r}")


def is_torchvision_state(state: Mapping[str, object]) -> bool:
    """Does this look like a state_dict of one of torchvision's Mask R-CNNs?"""
    return "backbone.body.conv1.weight" in state and "roi_heads.box_predictor.cls_score.weight" in state


def from_torchvision(
    state: Mapping[str, Tensor],
    *,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] = (),
    norm_eps: float = 1e-5,
    source: str = "state_dict",
) -> MaskRCNN:
    """The model of a state_dict of torchvision's ``maskrcnn_resnet50_fpn`` (or its 18, 34, 101 layer variants).

    It detects what torchvision detects. Depth, class count and the kind of normalisation are read off the tensors;
    names from before torchvision 0.13 are understood.

    Args:
        class_names: of the foreground classes. Left out: COCO's where the weights have its 90, else class-1, ...
        category_ids: the data set's ids of the classes; 1, 2, .. when left out.
        norm_eps: epsilon of the batch normalisation; 0 for torchvision's published COCO_V1 weights.
        source: names the weights in errors.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        UserError: the tensors are not those of such a model.

    >>> import torchvision  # doctest: +SKIP
    >>> theirs = torchvision.models.detection.maskrcnn_resnet50_fpn(weights="COCO_V1")  # doctest: +SKIP
    >>> ours = from_torchvision(theirs.state_dict(), norm_eps=0.0)  # doctest: +SKIP
    """
    if not is_torchvision_state(state):
        raise UserError(f"{source}: expected a state_dict of torchvision's Mask R-CNN; it begins with {_head(state)}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise UserError(f"{source}: expected a state_dict of tensors; {name!r} is a {type(value).__name__}")
    if "backbone.fpn.inner_blocks.0.1.weight" in state:
        raise UserError(f"{source}: expected torchvision's maskrcnn_resnet50_fpn; the _v2 variant is not supported yet")
    state = {_renamed(name): tensor for name, tensor in state.items()}
    config = _infer_config(state, class_names, category_ids, norm_eps, source)
    return build_model(config, state, source, stored_name=torchvision_name)


def to_torchvision(model: MaskRCNN) -> dict[str, Tensor]:
    """The state_dict of the same model in torchvision, for ``load_state_dict`` there.

    Tensors are shared with ``model``. torchvision computes with its own settings: only a model of the preset
    ``torchvision_resnet50_fpn`` gives exactly the same detections there.

    Raises:
        UserError: the network has parts that torchvision's does not have (a pyramid or mask head with normalisation).
    """
    backbone, mask_head, names = model.config.backbone, model.config.mask_head, model.state_dict()
    if model.config.fpn.norm != "none" or mask_head is None or mask_head.norm != "none" or backbone.norm == "gn":
        raise UserError("to_torchvision: expected the layers of torchvision's maskrcnn_resnet50_fpn; got other norms")
    return {torchvision_name(name): tensor for name, tensor in names.items()}


def _head(state: Mapping[str, object]) -> str:
    return ", ".join(list(state)[:3]) or "none"


def _renamed(name: str) -> str:
    for pattern, replacement in _OLD_TO_NEW:
        renamed, count = re.subn(f"^{pattern}$", replacement, name)
        if count:
            return renamed
    return name


def _infer_config(
    state: Mapping[str, Tensor],
    class_names: Sequence[str] | None,
    category_ids: Sequence[int],
    norm_eps: float,
    source: str,
) -> MaskRCNNConfig:
    outputs = state["roi_heads.box_predictor.cls_score.weight"].shape[0]  # the background included
    if class_names is None:
        coco = outputs == len(COCO_CLASSES) + 1
        class_names = COCO_CLASSES if coco else [f"class-{label}" for label in range(1, outputs)]
    if len(class_names) != outputs - 1:
        raise UserError(f"{source}: expected {outputs - 1} class_names, as the classifier has; got {len(class_names)}")
    norm: Literal["bn", "frozen_bn"] = "bn" if "backbone.body.bn1.num_batches_tracked" in state else "frozen_bn"
    config = torchvision_resnet50_fpn(
        class_names, category_ids, depth=_depth(state, source), norm=norm, norm_eps=norm_eps
    )
    hidden = state.get("roi_heads.box_head.fc6.weight")
    if hidden is None or config.box_head is None:
        return config
    return dataclasses.replace(config, box_head=dataclasses.replace(config.box_head, hidden=hidden.shape[0]))


def _depth(state: Mapping[str, Tensor], source: str) -> Depth:
    bottleneck = "backbone.body.layer1.0.conv3.weight" in state
    blocks = len({name.split(".")[3] for name in state if name.startswith("backbone.body.layer3.")})
    if (bottleneck, blocks) not in _BLOCKS_OF_STAGE_4:
        raise UserError(f"{source}: expected a ResNet-18, 34, 50, 101 or 152 backbone; layer3 has {blocks} blocks")
    return _BLOCKS_OF_STAGE_4[bottleneck, blocks]
