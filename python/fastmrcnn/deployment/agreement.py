"""How far the detections of two ways to run one model lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fastmrcnn.ops import box_iou
from fastmrcnn.structures import Detections

LEAST_IOU = 0.5  # of two detections that can be the same object


@dataclass(frozen=True)
class Agreement:
    """The greatest differences among the pairs of detections that belong together, over all images.

    >>> print(Agreement(3, 10, 0, 0.0004, 1e-6, 1.0))
    10 detections in 3 images: boxes within 0.0004 px, scores within 1e-06, masks with IoU 1.0000 or more
    """

    images: int
    detections: int  # of the first way
    alone: int  # of either way, without a partner
    box: float  # px
    score: float
    mask_iou: float | None  # the least one; None without masks
    keypoint: float | None = None  # px

    def __str__(self) -> str:
        text = (
            f"{self.detections} detections in {self.images} images: boxes within {self.box:.2g} px, "
            f"scores within {self.score:.1g}"
        )
        if self.mask_iou is not None:
            text += f", masks with IoU {self.mask_iou:.4f} or more"
        if self.keypoint is not None:
            text += f", keypoints within {self.keypoint:.2g} px"
        return text + (f"; {self.alone} without a partner" if self.alone else "")


def compare(expected: Sequence[Detections], found: Sequence[Detections]) -> Agreement:
    """Pair the detections of each image, of one class and near each other, best scores first, and measure."""
    alone, boxes, scores, masks, keypoints = 0, [0.0], [0.0], [1.0], [0.0]
    for one, other in zip(expected, found, strict=True):
        pairs = partners(one, other)
        alone += len(one) + len(other) - 2 * len(pairs)
        if not pairs:
            continue
        first, second = (torch.tensor(side) for side in zip(*pairs, strict=True))
        one, other = one[first], other[second]
        boxes.append((one.boxes - other.boxes).abs().max().item())
        scores.append((one.scores - other.scores).abs().max().item())
        if one.mask_probs is not None:
            masks.append(_least_mask_iou(one, other))
        if one.keypoints is not None and other.keypoints is not None:
            keypoints.append((one.keypoints - other.keypoints)[..., :2].abs().max().item())
    has_masks = any(one.mask_probs is not None for one in expected)
    return Agreement(
        images=len(expected),
        detections=sum(map(len, expected)),
        alone=alone,
        box=max(boxes),
        score=max(scores),
        mask_iou=min(masks) if has_masks else None,
        keypoint=max(keypoints) if any(one.keypoints is not None for one in expected) else None,
    )


def partners(one: Detections, other: Detections) -> list[tuple[int, int]]:
    """Pairs of indices: to each detection of ``one``, in the order of their scores, the nearest of ``other`` of its
    class that is still free. Detections of nearly equal scores may stand in another order."""
    overlaps = box_iou(one.boxes, other.boxes)
    overlaps[one.labels[:, None] != other.labels] = 0
    pairs = []
    for index in range(len(one)):
        best = int(overlaps[index].argmax()) if len(other) > 0 else 0
        if len(other) > 0 and overlaps[index, best] >= LEAST_IOU:
            pairs.append((index, best))
            overlaps[:, best] = 0
    return pairs


def _least_mask_iou(one: Detections, other: Detections) -> float:
    """Among pairs in the same rows; two empty masks are equal."""
    least = 1.0
    for index in range(len(one)):  # a bitmap at a time: a hundred of a photograph take a hundred megabytes
        first, second = one[index].masks[0], other[index].masks[0]
        union = (first | second).sum().item()
        least = min(least, (first & second).sum().item() / union if union else 1.0)
    return least
