"""The stages of a prediction, and the functions of a model that they are made of."""

from __future__ import annotations

from torch import nn

from fastmrcnn.deployment.optimized import OptimizedMaskRCNN
from fastmrcnn.models import MaskRCNN, detect_stream
from fastmrcnn.profiling.clock import Place

DECODE, RESIZE, NORMALISE = "decode", "resize", "normalise, pad"
BACKBONE, FPN = "backbone", "FPN"
RPN_HEAD, PROPOSALS = "RPN: head", "RPN: proposals"
POOLING, STAGE_5, BOX_HEAD, DETECTIONS = "pooling", "stage 5", "box head", "detections"
MASK_HEAD, KEYPOINT_HEAD = "mask head", "keypoint head"
PASTE, REST = "paste, RLE", "rest"
GRAPH = "network (CUDA graph)"

ORDER = (
    *(DECODE, RESIZE, NORMALISE, GRAPH, BACKBONE, FPN, RPN_HEAD, PROPOSALS),
    *(POOLING, STAGE_5, BOX_HEAD, DETECTIONS, MASK_HEAD, KEYPOINT_HEAD, PASTE, REST),
)


def places_of(model: MaskRCNN) -> list[Place]:
    """Where the stages of ``model.predict`` begin and end, but for pasting, which is done when masks are asked for."""
    transform = model.transform
    places = [
        Place(detect_stream, "as_image_tensor", DECODE),
        Place(transform, "prepare", RESIZE),
        Place(transform, "normalise", NORMALISE),
        Place(transform, "collate", NORMALISE),
    ]
    if isinstance(model, OptimizedMaskRCNN) and model.graphs is not None:  # one launch, which nothing looks into
        return [*places, Place(model, "detect_batch", GRAPH)]
    places += [
        _calls(model.backbone, BACKBONE),
        _calls(model.rpn.head, RPN_HEAD),
        _calls(model.rpn, PROPOSALS),
    ]
    if model.fpn is not None:
        places.append(_calls(model.fpn, FPN))
    heads = model.roi_heads
    if heads is None:
        return places
    places += [
        Place(heads, "regions", POOLING),
        _calls(heads.box_head, BOX_HEAD),
        Place(heads.box_head, "detect", DETECTIONS),
    ]
    if heads.res5 is not None:
        places.append(_calls(heads.res5, STAGE_5))
    if heads.mask_head is not None:
        places += [_calls(heads.mask_head, MASK_HEAD), Place(heads.mask_head, "probabilities", MASK_HEAD)]
    if heads.keypoint_head is not None:
        places += [_calls(heads.keypoint_head, KEYPOINT_HEAD), Place(heads.keypoint_head, "keypoints", KEYPOINT_HEAD)]
    return places


def _calls(part: nn.Module, stage: str) -> Place:
    """Calls of a part of the network: of what torch has compiled it to, where it has."""
    return Place(part, "forward" if part._compiled_call_impl is None else "_compiled_call_impl", stage)
