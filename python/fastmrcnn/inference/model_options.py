"""The options of commands about what a loaded model keeps, and how often it looks at an image."""

from __future__ import annotations

from collections.abc import Sequence

from fastmrcnn.errors import UserError
from fastmrcnn.inference.augmented import AugmentedDetector
from fastmrcnn.models import MaskRCNN, set_detection_options
from fastmrcnn.models.config import NMSMethod
from fastmrcnn.models.detector import Detector


def choose_detections(
    model: MaskRCNN,
    *,
    max_detections: int | None = None,
    nms: NMSMethod | None = None,
    nms_iou: float | None = None,
) -> None:
    """:func:`~fastmrcnn.models.set_detection_options`, whose errors are the user's."""
    if max_detections is None and nms is None and nms_iou is None:
        return
    if max_detections is not None and max_detections < 1:
        raise UserError(f"max_detections must be at least 1; got {max_detections}")
    if nms_iou is not None and not 0 <= nms_iou <= 1:
        raise UserError(f"nms_iou must be in 0..1; got {nms_iou}")
    try:
        set_detection_options(model, max_detections=max_detections, nms=nms, nms_iou=nms_iou)
    except ValueError as error:
        raise UserError(str(error)) from None


def seen_in_views(model: MaskRCNN, scales: Sequence[float], flip: bool) -> Detector:
    """The model, or what looks at each image through it several times.

    >>> from fastmrcnn.models import tiny
    >>> seen_in_views(MaskRCNN(tiny(["coin"])), scales=(), flip=True).views
    [View(scale=1.0, flipped=False), View(scale=1.0, flipped=True)]
    """
    return AugmentedDetector(model, scales=scales or (1.0,), flip=flip) if scales or flip else model
