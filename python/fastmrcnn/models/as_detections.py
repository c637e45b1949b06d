"""From the slots of a network's output to the detections of each image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastmrcnn.models.config import MaskRCNNConfig
from fastmrcnn.models.instances import PaddedInstances, Size
from fastmrcnn.models.mask_nms import thin_by_masks
from fastmrcnn.structures import Detections


def as_detections(
    found: PaddedInstances, config: MaskRCNNConfig, originals: Sequence[Size], images: Sequence[Tensor]
) -> list[Detections]:
    """The filled slots of each image, in pixels of it, whose labels then count from 0; waits for a GPU.

    Args:
        found: of B images, boxes and keypoints in pixels of these.
        config: of the network.
        originals: (height, width) of each image.
        images: [C, H, W] each, what was looked at.
    """
    masks, keypoints = found.mask_probs, found.keypoints
    mask_head, keypoint_head, box_head = config.mask_head, config.keypoint_head, config.box_head
    every = [
        Detections(
            boxes=found.boxes[index, :count],
            scores=found.scores[index, :count],
            labels=found.labels[index, :count] - 1,
            mask_probs=None if masks is None else masks[index, :count],
            image_size=original,
            class_names=config.class_names,
            category_ids=config.category_ids,
            paste_method="exact" if mask_head is None else mask_head.paste,
            source=image,
            pixel_format=config.input.pixel_format,
            keypoints=None if keypoints is None else keypoints[index, :count],
            keypoint_names=() if keypoint_head is None else keypoint_head.keypoint_names,
            keypoint_offset=0.0 if keypoint_head is None else keypoint_head.annotation_offset,
        )
        for index, (count, original, image) in enumerate(zip(found.counts.tolist(), originals, images, strict=True))
    ]
    if box_head is None or box_head.nms != "mask":
        return every
    return [thin_by_masks(candidates, box_head.nms_iou, box_head.detections) for candidates in every]
