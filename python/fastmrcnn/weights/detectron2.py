"""Weights of detectron2's R-CNNs (FPN, C4 and DC5; boxes, masks and keypoints): its names and its order, both ways.

detectron2 puts the background behind the classes where it has one (the classifier), and has none where it needs none
(boxes, masks). Here the background is always class 0; its boxes and masks, which nobody reads, are zeros.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.weights.detectron2_config import infer_config
from fastmrcnn.weights.states import check_state
from fastmrcnn.weights.store import check_tensors, new_model, shapes_of

__all__ = ["from_detectron2", "is_detectron2_state", "to_detectron2"]

# Our names -> detectron2's, by the beginning of the name. <i> is the number i plus one, <<i>> plus two; the
# backbone's own prefix is put in the place of "@".
_OUR_TO_THEIR = [
    (r"backbone\.stem\.conv1\.conv\.", "@stem.conv1."),
    (r"backbone\.stem\.conv1\.norm\.", "@stem.conv1.norm."),
    (r"backbone\.stages\.(\d+)\.(\d+)\.(\w+)\.conv\.", r"@res<<\1>>.\2.\3."),
    (r"backbone\.stages\.(\d+)\.(\d+)\.(\w+)\.norm\.", r"@res<<\1>>.\2.\3.norm."),
    (r"fpn\.(lateral|output)\.(\d+)\.conv\.", r"backbone.fpn_\1<<\2>>."),
    (r"fpn\.(lateral|output)\.(\d+)\.norm\.", r"backbone.fpn_\1<<\2>>.norm."),
    (r"rpn\.head\.convs\.(\d+)\.", r"proposal_generator.rpn_head.conv.conv\1."),
    (r"rpn\.head\.objectness\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"rpn\.head\.deltas\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"roi_heads\.res5\.(\d+)\.(\w+)\.conv\.", r"roi_heads.res5.\1.\2."),
    (r"roi_heads\.res5\.(\d+)\.(\w+)\.norm\.", r"roi_heads.res5.\1.\2.norm."),
    (r"roi_heads\.box_head\.convs\.(\d+)\.conv\.", r"roi_heads.box_head.conv<\1>."),
    (r"roi_heads\.box_head\.convs\.(\d+)\.norm\.", r"roi_heads.box_head.conv<\1>.norm."),
    (r"roi_heads\.box_head\.layers\.(\d+)\.linear\.", r"roi_heads.box_head.fc<\1>."),
    (r"roi_heads\.box_head\.classifier\.", "roi_heads.box_predictor.cls_score."),
    (r"roi_heads\.box_head\.deltas\.", "roi_heads.box_predictor.bbox_pred."),
    (r"roi_heads\.mask_head\.convs\.(\d+)\.conv\.", r"roi_heads.mask_head.mask_fcn<\1>."),
    (r"roi_heads\.mask_head\.convs\.(\d+)\.norm\.", r"roi_heads.mask_head.mask_fcn<\1>.norm."),
    (r"roi_heads\.mask_head\.upsample\.", "roi_heads.mask_head.deconv."),
    (r"roi_heads\.mask_head\.logits\.", "roi_heads.mask_head.predictor."),
    (r"roi_heads\.keypoint_head\.convs\.(\d+)\.", r"roi_heads.keypoint_head.conv_fcn<\1>."),
    (r"roi_heads\.keypoint_head\.upsample\.", "roi_heads.keypoint_head.score_lowres."),
]

# What detectron2 computes from its configuration, but older versions wrote down all the same.
_STALE = re.compile(r"pixel_(mean|std)$|proposal_generator\.anchor_generator\.cell_anchors\.\d+$")


def detectron2_name(name: str, config: MaskRCNNConfig) -> str:
    """detectron2's name of our tensor ``name`` in a model of that configuration."""
    backbone = "backbone.bottom_up." if config.neck == "fpn" else "backbone."
    for pattern, replacement in _OUR_TO_THEIR:
        renamed, count = re.subn("^" + pattern, replacement, name)
        if count:
            renamed = re.sub(r"<<(\d+)>>", lambda index: str(int(index[1]) + 2), renamed)
            renamed = re.sub(r"<(\d+)>", lambda index: str(int(index[1]) + 1), renamed)
            if config.rpn.convolutions == 1:  # a lone one has no name of its own
                renamed = renamed.replace(".rpn_head.conv.conv0.", ".rpn_head.conv.")
            return renamed.replace("@", backbone)
    raise UserError(f"to_detectron2: expected a network that detectron2 has; it has nothing like {name!r}")


def is_detectron2_state(state: Mapping[str, object]) -> bool:
    """Does this look like a state_dict of one of detectron2's R-CNNs?"""
    return "proposal_generator.rpn_head.objectness_logits.weight" in state


def from_detectron2(
    state: Mapping[str, Tensor],
    *,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] = (),
    config: MaskRCNNConfig | None = None,
    source: str = "state_dict",
) -> MaskRCNN:
    """The model of a state_dict of detectron2: one of its zoo, or trained from a configuration of the zoo.

    It detects what detectron2 detects. The architecture, the class count and the kinds of normalisation are read off
    the tensors. What they do not show is as in the zoo (:func:`fastmrcnn.models.detectron2_rcnn`): where bottlenecks
    stride, means and deviations of pixels, image sizes, thresholds.

    Args:
        class_names: of the foreground classes. Left out: COCO's where the weights have its 80, a person where they have
            keypoints, else class-1, ...
        category_ids: the data set's ids of the classes; COCO's, or 1, 2, .. when left out.
        config: the whole configuration, where detectron2's differed from the zoo's; in place of the two above.
        source: names the weights in errors.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        UserError: the tensors are not those of such a model.

    >>> state = torch.load("output/model_final.pth", weights_only=True)["model"]  # doctest: +SKIP
    >>> model = from_detectron2(state, class_names=["balloon"])  # doctest: +SKIP
    """
    check_state(state, "detectron2's R-CNN", is_detectron2_state(state), source)
    state = {name: tensor for name, tensor in state.items() if not _STALE.match(name)}
    config = config or infer_config(state, class_names, category_ids, source)
    expected = {}
    for name, shape in shapes_of(config, source).items():
        added = background_rows(name, config)
        expected[detectron2_name(name, config)] = torch.Size((shape[0] - added, *shape[1:])) if added else shape
    check_tensors(expected, state, source)
    model = new_model(config)
    model.load_state_dict(
        {name: background_to_front(name, state[detectron2_name(name, config)], config) for name in model.state_dict()}
    )
    return model.eval()


def to_detectron2(model: MaskRCNN) -> dict[str, Tensor]:
    """The state_dict of the same model in detectron2, for its ``DetectionCheckpointer`` or ``load_state_dict`` there.

    Tensors are shared with ``model`` where they are the same. detectron2 computes with its own settings: only a model
    of the preset ``detectron2_rcnn`` gives the same detections there.

    Raises:
        UserError: the network has parts that detectron2's do not have.
    """
    state = model.state_dict()
    for name in state:  # in detectron2 a convolution has one or the other
        if name.endswith(".conv.bias") and name.replace(".conv.bias", ".norm.weight") in state:
            raise UserError(f"to_detectron2: expected a network that detectron2 has; its convolutions have no {name!r}")
    if (need := needs_background(model.config)) is not None:
        raise UserError(f"to_detectron2: expected a network that detectron2 has; its background has no {need}")
    return {
        detectron2_name(name, model.config): background_to_back(name, tensor, model.config)
        for name, tensor in state.items()
    }


def background_to_front(name: str, tensor: Tensor, config: MaskRCNNConfig) -> Tensor:
    """The outputs of our tensor ``name`` from detectron2's order to ours; undone by :func:`background_to_back`."""
    if name.startswith("roi_heads.box_head.classifier."):
        return torch.cat((tensor[-1:], tensor[:-1]))
    added = background_rows(name, config)
    return F.pad(tensor, [0, 0] * (tensor.ndim - 1) + [added, 0]) if added else tensor


def background_to_back(name: str, tensor: Tensor, config: MaskRCNNConfig) -> Tensor:
    """The outputs of our tensor ``name`` from our order to detectron2's."""
    if name.startswith("roi_heads.box_head.classifier."):
        return torch.cat((tensor[1:], tensor[:1]))
    added = background_rows(name, config)
    return tensor[added:] if added else tensor


def needs_background(config: MaskRCNNConfig) -> str | None:
    """An output for the background that counts in our model, where its counterpart there has none."""
    if config.mask_head is not None and config.mask_head.activation == "softmax":
        return "mask, which those of the classes compete with"
    return "objectness, which that of an object competes with" if config.rpn.objectness == "softmax" else None


def background_rows(name: str, config: MaskRCNNConfig) -> int:
    """How many outputs of our tensor ``name`` are those of a background that detectron2 does not have."""
    if config.box_head and name.startswith("roi_heads.box_head.deltas."):
        return 0 if config.box_head.class_agnostic else 4
    if config.mask_head and name.startswith("roi_heads.mask_head.logits."):
        return 0 if config.mask_head.class_agnostic else 1
    return 0
