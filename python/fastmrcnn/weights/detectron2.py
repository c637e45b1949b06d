"""Weights of detectron2's R-CNNs (FPN, C4 and DC5; boxes, masks and keypoints): its names and its order, both ways."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.weights.background import model_of, needs_background, state_of
from fastmrcnn.weights.detectron2_config import infer_config
from fastmrcnn.weights.plain_resnet import detectron2_backbone_name
from fastmrcnn.weights.states import check_state

__all__ = ["from_detectron2", "is_detectron2_state", "to_detectron2"]

# Our names -> detectron2's but for the backbone, by the beginning of the name. <i> is the number i plus one, <<i>> plus
# two.
_OUR_TO_THEIR = [
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
    if name.startswith("backbone."):
        prefix = "backbone.bottom_up." if config.neck == "fpn" else "backbone."
        return prefix + detectron2_backbone_name(name.removeprefix("backbone."))
    for pattern, replacement in _OUR_TO_THEIR:
        renamed, count = re.subn("^" + pattern, replacement, name)
        if count:
            renamed = re.sub(r"<<(\d+)>>", lambda index: str(int(index[1]) + 2), renamed)
            renamed = re.sub(r"<(\d+)>", lambda index: str(int(index[1]) + 1), renamed)
            if config.rpn.convolutions == 1:  # a lone one has no name of its own
                renamed = renamed.replace(".rpn_head.conv.conv0.", ".rpn_head.conv.")
            return renamed
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
    return model_of(config, state, partial(detectron2_name, config=config), source)


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
    return state_of(state, model.config, partial(detectron2_name, config=model.config))
