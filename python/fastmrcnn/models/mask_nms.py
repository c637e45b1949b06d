"""Non-maximum suppression by the overlap of masks: objects that lie across each other share a box, not their pixels."""

from __future__ import annotations

from fastmrcnn.ops import mask_nms
from fastmrcnn.structures import Detections

CANDIDATES = 4  # boxes whose masks are drawn, for each detection that is kept at most
CANDIDATE_IOU = 0.9  # of two boxes of a class that overlap by more, the better one alone is a candidate


def thin_by_masks(found: Detections, iou: float, most: int) -> Detections:
    """The detections that share no more than a mask IoU with a better one of their class, ``most`` of them at most."""
    keep = mask_nms(found.run_lengths, found.scores, iou, found.labels)[:most]
    return found[keep.to(found.boxes.device)]
