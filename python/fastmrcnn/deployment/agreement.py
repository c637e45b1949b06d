"""How far the detections of two ways to run one model lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastmrcnn.ops import box_iou, concatenate_masks, mask_intersections
from fastmrcnn.structures import Detections

LEAST_IOU = 0.5  # of two detections that can be the same object


@dataclass(frozen=True)
class Agreement:
    """The greatest and the mean differences among the pairs of detections that belong together, over all images.

    >>> print(Agreement(3, 10, alone=1, box=0.0004, score=1e-6, mask_iou=None, box_mean=0.0001))
    10 detections in 3 images: boxes within 0.0004 px (mean 0.0001), scores within 1e-06 (mean 0); 1 without a partner
    """

    images: int
    detections: int  # of the first way
    alone: int  # of either way, without a partner
    box: float  # px
    score: float
    mask_iou: float | None  # the least one; None without masks
    keypoint: float | None = None  # px
    box_mean: float = 0.0  # px: of the greatest distances of a pair's corners
    score_mean: float = 0.0
    mask_iou_mean: float | None = None

    def __str__(self) -> str:
        text = (
            f"{self.detections} detections in {self.images} images: "
            f"boxes within {self.box:.2g} px (mean {self.box_mean:.2g}), "
            f"scores within {self.score:.1g} (mean {self.score_mean:.1g})"
        )
        if self.mask_iou is not None:
            text += f", masks with IoU {self.mask_iou:.4f} or more (mean {self.mask_iou_mean:.4f})"
        if self.keypoint is not None:
            text += f", keypoints within {self.keypoint:.2g} px"
        return text + (f"; {self.alone} without a partner" if self.alone else "")


def compare(expected: Sequence[Detections], found: Sequence[Detections]) -> Agreement:
    """Pair the detections of each image, of one class and near each other, best scores first, and measure."""
    alone = 0
    boxes, scores, masks, keypoints = ([torch.zeros(0, device="cpu")] for _ in range(4))  # of each pair
    for one, other in zip(expected, found, strict=True):
        pairs = partners(one, other)
        alone += len(one) + len(other) - 2 * len(pairs)
        if not pairs:
            continue
        first, second = (torch.tensor(side, device="cpu") for side in zip(*pairs, strict=True))
        one, other = one[first], other[second]
        boxes.append((one.boxes - other.boxes).abs().amax(dim=1))
        scores.append((one.scores - other.scores).abs())
        if one.has_masks:
            masks.append(_mask_ious(one, other))
        if one.keypoints is not None and other.keypoints is not None:
            keypoints.append((one.keypoints - other.keypoints)[..., :2].abs().flatten(1).amax(dim=1))
    box, score, iou, keypoint = (torch.cat(values) for values in (boxes, scores, masks, keypoints))
    has_masks = any(one.has_masks for one in expected)
    return Agreement(
        images=len(expected),
        detections=sum(map(len, expected)),
        alone=alone,
        box=_greatest(box),
        score=_greatest(score),
        mask_iou=1 - _greatest(1 - iou) if has_masks else None,
        keypoint=_greatest(keypoint) if any(one.keypoints is not None for one in expected) else None,
        box_mean=_mean(box),
        score_mean=_mean(score),
        mask_iou_mean=1 - _mean(1 - iou) if has_masks else None,
    )


def _greatest(values: Tensor) -> float:
    return values.max().item() if len(values) > 0 else 0.0


def _mean(values: Tensor) -> float:
    return values.mean().item() if len(values) > 0 else 0.0


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


def _mask_ious(one: Detections, other: Detections) -> Tensor:
    """Of pairs in the same rows, [N]; two empty masks are equal."""
    masks = concatenate_masks([one.run_lengths, other.run_lengths])
    pairs = torch.arange(len(one), device="cpu")[:, None] + torch.tensor([0, len(one)], device="cpu")
    shared = mask_intersections(masks, pairs)
    union = masks.areas()[pairs].sum(dim=1) - shared
    return torch.where(union > 0, shared / union, 1.0)
