"""Test-time augmentation: the same image looked at in several sizes and mirrored, and what all views agree on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, PaddedInstances, padding
from fastmrcnn.models.as_detections import as_detections
from fastmrcnn.models.detector import Detector
from fastmrcnn.models.instances import ImageBatch
from fastmrcnn.models.mask_nms import CANDIDATE_IOU, CANDIDATES
from fastmrcnn.models.transform import image_origin
from fastmrcnn.ops import batched_nms
from fastmrcnn.structures import Detections


class View(NamedTuple):
    """How an image is looked at."""

    scale: float  # of the size in which the network sees images
    flipped: bool  # left and right


@dataclass(frozen=True)
class _Seen:
    """What the network makes of a batch in one view."""

    view: View
    batch: ImageBatch
    features: list[Tensor]


class AugmentedDetector(Detector):
    """A model that looks at every image in several views; it predicts, and is evaluated, as the model does.

    Boxes of all views are thinned by NMS within each class, the masks of those that stay are drawn in every view, and
    their probabilities averaged: detectron2's ``GeneralizedRCNNWithTTA``. It takes the time of all views together, and
    the memory for the feature maps of all of them.

    Args:
        model: shared, not copied.
        scales: of the size that the model sees images in.
        flip: look at each mirrored as well.

    Raises:
        UserError: a scale is not positive; the model finds keypoints, or proposals alone, or has images of one size
            in a square (Matterport) while other scales than 1 are asked for.

    >>> from fastmrcnn.models import tiny
    >>> detector = AugmentedDetector(MaskRCNN(tiny(["coin"])), scales=(0.8, 1.0, 1.25), flip=True)
    >>> len(detector.views), detector.predict(torch.rand(3, 64, 96)).image_size
    (6, (64, 96))
    """

    def __init__(self, model: MaskRCNN, *, scales: Sequence[float] = (1.0,), flip: bool = True) -> None:
        super().__init__()
        scales = tuple(dict.fromkeys(float(scale) for scale in scales)) or (1.0,)
        if not all(0 < scale < math.inf for scale in scales):
            raise UserError(f"tta_scales must be positive; got {', '.join(f'{scale:g}' for scale in scales)}")
        config = model.config
        if config.box_head is None or config.keypoint_head is not None:
            found = "region proposals alone" if config.box_head is None else "keypoints"
            raise UserError(f"test-time augmentation: expected a model of boxes, with masks or not; it finds {found}")
        if config.input.frame == "centred_square" and scales != (1.0,):
            raise UserError(
                "test-time augmentation: expected no tta_scales for a model that has images in a square of one size; "
                f"got {', '.join(f'{scale:g}' for scale in scales)}"
            )
        self.model = model
        self.config, self.transform = config, model.transform
        self.views = [View(scale, flipped) for scale in scales for flipped in ((False, True) if flip else (False,))]

    def forward(self, images: Sequence[Tensor]) -> list[Detections]:
        """The detections of a batch of images [C, H, W], in pixels of these. The model must be in evaluation mode."""
        return self.detect_prepared(self.transform(images), images)

    def detect_prepared(self, batch: ImageBatch, images: Sequence[Tensor]) -> list[Detections]:
        with self.model.in_precision(batch.pixels.device):
            return self._detect(batch, images)

    def _detect(self, batch: ImageBatch, images: Sequence[Tensor]) -> list[Detections]:
        seen, boxes_of = [], []
        for view in self.views:
            one, boxes = self._look(images, view, batch)
            seen.append(one)
            boxes_of.append(boxes)
        merged = [self._merge([boxes[index] for boxes in boxes_of]) for index in range(len(images))]
        masks = self._mean_masks(seen, merged)
        sizes = seen[0].batch.original_sizes
        return [
            as_detections(
                found._replace(mask_probs=None if masks is None else masks[index][None]),
                self.model.config,
                sizes[index : index + 1],
                images[index : index + 1],
            )[0]
            for index, found in enumerate(merged)
        ]

    def _look(self, images: Sequence[Tensor], view: View, batch: ImageBatch) -> tuple[_Seen, list[PaddedInstances]]:
        """One view of a batch, and what the box head finds in each image of it, in pixels of the originals.

        batch: that of the plain view.
        """
        model = self.model
        assert model.roi_heads is not None
        if view != View(1.0, False):
            turned = [image.flip(-1) for image in images] if view.flipped else images
            batch = model.transform(turned, scale=view.scale)
        features = model.features(batch.pixels)
        _, proposals = model.rpn(features, batch.padded_size, batch.image_sizes)
        packed = padding.reading_is_free(model.transform.mean)
        found = model.roi_heads.detect_boxes(features, proposals, batch.image_sizes, packed=packed)
        found = found._replace(boxes=model.frame.leave_slots(found.boxes, found.counts))
        found = model.frame.restore(found, batch)
        every = []
        for index, (count, (_, width)) in enumerate(zip(found.counts.tolist(), batch.original_sizes, strict=True)):
            boxes = found.boxes[index, :count]
            boxes = _mirrored(boxes, width) if view.flipped else boxes
            scores, labels = found.scores[index, :count], found.labels[index, :count]
            every.append(PaddedInstances(boxes[None], scores[None], labels[None], found.counts[index : index + 1]))
        return _Seen(view, batch, features), every

    def _merge(self, views: Sequence[PaddedInstances]) -> PaddedInstances:
        """The best boxes of one image in all views."""
        head = self.model.config.box_head
        assert head is not None
        boxes, scores, labels = (
            torch.cat([getattr(view, name)[0] for view in views]) for name in ("boxes", "scores", "labels")
        )
        by_masks = head.nms == "mask"
        keep = batched_nms(boxes, scores, labels, CANDIDATE_IOU if by_masks else head.nms_iou)
        keep = keep[: head.detections * (CANDIDATES if by_masks else 1)]
        counts = torch.tensor([len(keep)], device=boxes.device)
        return PaddedInstances(boxes[keep][None], scores[keep][None], labels[keep][None], counts)

    def _mean_masks(self, seen: Sequence[_Seen], merged: Sequence[PaddedInstances]) -> list[Tensor] | None:
        """For each image the mask probabilities [N, M, M] of its boxes, means over the views."""
        heads, frame = self.model.roi_heads, self.model.frame
        assert heads is not None
        if heads.mask_head is None:
            return None
        labels = torch.cat([found.labels[0] for found in merged])
        total: Tensor | None = None
        for one in seen:
            boxes = []
            for found, original, size in zip(merged, one.batch.original_sizes, one.batch.sizes, strict=True):
                own = _mirrored(found.boxes[0], original[1]) if one.view.flipped else found.boxes[0]
                origin = image_origin(size, self.model.transform.config)
                boxes.append(frame.place(own, original, size, origin))
            regions = heads.regions(one.features, boxes, heads.mask_head.config.pooler)
            logits = heads.mask_head(regions, labels=labels)
            masks = heads.mask_head.probabilities(logits, labels)
            masks = masks.flip(-1) if one.view.flipped else masks
            total = masks if total is None else total + masks
        assert total is not None
        return list((total / len(seen)).split([found.labels.shape[1] for found in merged]))


def _mirrored(boxes: Tensor, width: int) -> Tensor:
    """Boxes [N, 4] of an image that is so wide, in the same mirrored left and right."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return torch.stack((width - x2, y1, width - x1, y2), dim=1)
