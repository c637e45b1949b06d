"""How many objects a model finds at most, and what it does about several boxes on one: changed in a loaded model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastmrcnn.models.config import NMSMethod
from fastmrcnn.models.mask_rcnn import MaskRCNN


def set_detection_options(
    model: MaskRCNN,
    *,
    max_detections: int | None = None,
    nms: NMSMethod | None = None,
    nms_iou: float | None = None,
    score_threshold: float | None = None,
) -> None:
    """Change what a model keeps of what it finds; the weights stay, and so does what is None.

    Args:
        model: is changed in place, its configuration too.
        max_detections: kept an image. Where there are fewer than two region proposals for each there will be as many.
            Slots that stay empty cost a CPU nothing.
        nms: "box", "linear" or "gaussian" (soft-NMS), or "mask", see
            :class:`~fastmrcnn.models.BoxHeadConfig`.
        nms_iou: its threshold.
        score_threshold: least confidence of a detection.

    Raises:
        ValueError: the model has no box head; "mask" without a mask head; a value out of its range.

    >>> from fastmrcnn.models import tiny
    >>> model = MaskRCNN(tiny(["coin"]))
    >>> set_detection_options(model, max_detections=1000, nms="gaussian")
    >>> model.config.box_head.detections, model.config.rpn.post_nms_test
    (1000, 2000)
    """
    if model.config.box_head is None or model.roi_heads is None:
        raise ValueError("set_detection_options: the model must have a box head; it has region proposals alone")
    chosen: dict[str, Any] = {
        "detections": max_detections,
        "nms": nms,
        "nms_iou": nms_iou,
        "score_threshold": score_threshold,
    }
    head = replace(model.config.box_head, **{name: value for name, value in chosen.items() if value is not None})
    rpn = model.config.rpn
    if max_detections is not None:
        least = 2 * max_detections
        rpn = replace(rpn, pre_nms_test=max(rpn.pre_nms_test, least), post_nms_test=max(rpn.post_nms_test, least))
    model.config = replace(model.config, box_head=head, rpn=rpn)  # first: it checks
    model.roi_heads.box_head.config, model.rpn.config = head, rpn
