"""The second stage: sampling RoIs for training, and the box and mask heads in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fastmrcnn.models import padding
from fastmrcnn.models.box_frame import BoxFrame
from fastmrcnn.models.box_head import BoxHead, BoxPrediction
from fastmrcnn.models.config import BoxHeadConfig, MaskRCNNConfig, PoolerConfig
from fastmrcnn.models.instances import PaddedInstances, SampledRoIs, Targets
from fastmrcnn.models.keypoint_head import KeypointHead
from fastmrcnn.models.mask_head import MaskHead
from fastmrcnn.models.matching import gather_labels, match_target, regression_targets
from fastmrcnn.models.pooling import pool_regions
from fastmrcnn.models.resnet import hold_statistics, init_parameters, make_stage
from fastmrcnn.models.sampling import Sampler, sample_balanced
from fastmrcnn.ops import IGNORED, PaddedProposals


class RoIHeads(nn.Module):
    """The heads that read regions: in training samples of the proposals, in inference the box head all proposals and
    the others what it detected.

    ``sampler`` chooses the RoIs of the losses; replace it to fix the sample.
    """

    def __init__(self, config: MaskRCNNConfig) -> None:
        super().__init__()
        assert config.box_head is not None
        self.frame = BoxFrame.of(config)
        self.strides = config.feature_strides
        channels = config.feature_channels
        self.res5: nn.Module | None = None
        if config.neck == "c4":
            self.res5 = make_stage(config.backbone, 3)
            init_parameters(self.res5)
            self.res5.requires_grad_(config.backbone.frozen_stages < 5)
            channels = config.backbone.stage_channels[3]
        self.box_head = BoxHead(channels, self.cells(config.box_head.pooler), config.num_classes, config.box_head)
        self.mask_head: MaskHead | None = None
        if config.mask_head is not None:
            cells = self.cells(config.mask_head.pooler)
            self.mask_head = MaskHead(channels, cells, config.num_classes, config.mask_head)
        self.keypoint_head: KeypointHead | None = None
        if config.keypoint_head is not None:
            self.keypoint_head = KeypointHead(channels, config.keypoint_head)
        self.sampler: Sampler = sample_balanced
        self.frozen_statistics = config.backbone.frozen_statistics
        self.train()

    def train(self, mode: bool = True) -> RoIHeads:
        """Training or evaluation mode; stage 5 is a part of the backbone, whose statistics may be frozen."""
        super().train(mode)
        if self.res5 is not None and self.frozen_statistics:
            hold_statistics(self.res5)
        return self

    def cells(self, pooler: PoolerConfig) -> int:
        """The side of the regions that the heads read; stage 5 halves it."""
        return pooler.output_size if self.res5 is None else (pooler.output_size + 1) // 2

    def regions(
        self,
        features: Sequence[Tensor],
        boxes: Tensor | Sequence[Tensor],
        pooler: PoolerConfig,
        filled: Tensor | None = None,
    ) -> Tensor:
        """What the heads read of each box; see :func:`pool_regions` for the boxes and the result.

        filled: [K] bool, which of them are no empty slots; None: all.
        """
        pooled = pool_regions(features, self.strides, boxes, pooler)
        return pooled if self.res5 is None else self.res5(pooled, filled)

    def losses(
        self, features: Sequence[Tensor], proposals: PaddedProposals, targets: Sequence[Targets]
    ) -> dict[str, Tensor]:
        """``loss_classifier``, ``loss_box_reg`` and, with the heads, ``loss_mask`` and ``loss_keypoint``."""
        rois = [
            sample_rois(boxes, count, self.frame.enter_target(target), self.box_head.config, self.sampler)
            for boxes, count, target in zip(proposals.boxes, proposals.counts, targets, strict=True)
        ]
        trimmed = padding.reading_is_free(proposals.counts)
        if trimmed:
            rois = [drop_empty(roi) for roi in rois]
        positive = [first_rois(roi, roi.positives) for roi in rois]
        filled = None if trimmed else torch.cat([roi.labels >= 0 for roi in rois])
        labels = torch.cat([roi.labels for roi in positive])
        has_object = None if trimmed else labels > 0
        regions = self.regions(features, [roi.boxes for roi in rois], self.box_head.config.pooler, filled)
        losses = self.box_head.losses(self.box_head(regions, filled), rois)
        on_images = [
            replace(roi, boxes=self.frame.on_image(roi.boxes, target.origin))
            for roi, target in zip(positive, targets, strict=True)
        ]
        for head in (self.mask_head, self.keypoint_head):
            if head is None:
                continue
            if head.config.pooler == self.box_head.config.pooler:  # C4: stage 5 has read these regions
                parts = regions.split([roi.labels.shape[0] for roi in rois])
                own = torch.cat([part[: roi.positives] for part, roi in zip(parts, rois, strict=True)])
            else:
                own = self.regions(features, [roi.boxes for roi in positive], head.config.pooler, has_object)
            losses |= head.losses(head(own, has_object, labels), on_images, targets)
        return losses

    def detect(
        self, features: Sequence[Tensor], proposals: PaddedProposals, image_sizes: Tensor, *, packed: bool
    ) -> PaddedInstances:
        """The instances of each image, px of the network's input. image_sizes: [B, 2] int64, px.

        packed: the heads compute the filled slots alone, which takes the counts to the host.
        """
        instances = self.detect_boxes(features, proposals, image_sizes, packed=packed)
        instances = self._look_closer(features, instances, packed=packed)
        return instances._replace(boxes=self.frame.leave_slots(instances.boxes, instances.counts))

    def detect_boxes(
        self, features: Sequence[Tensor], proposals: PaddedProposals, image_sizes: Tensor, *, packed: bool
    ) -> PaddedInstances:
        """What the box head finds, with boxes as they are inside the network: see :meth:`detect`."""
        batch, capacity = proposals.boxes.shape[:2]
        rows = padding.filled_rows(proposals.counts, capacity) if packed else None
        rois = padding.pack(padding.as_rois(proposals.boxes), rows)
        prediction = self.box_head(self.regions(features, rois, self.box_head.config.pooler))
        prediction = BoxPrediction(*(padding.unpack(part, rows, batch * capacity) for part in prediction))
        limits, origins = self.frame.limits(image_sizes), self.frame.origins(image_sizes)
        if origins is None:
            found = self.box_head.detect(prediction, proposals, limits)
        else:
            found = self.box_head.detect(prediction, proposals._replace(boxes=proposals.boxes - origins), limits)
            filled = padding.is_filled(found.counts, found.boxes.shape[1])[..., None]
            found = found._replace(boxes=torch.where(filled, found.boxes + origins, 0))
        return PaddedInstances(found.boxes, found.scores, found.labels, found.counts)

    def _look_closer(self, features: Sequence[Tensor], found: PaddedInstances, *, packed: bool) -> PaddedInstances:
        """The instances with what the mask head and the keypoint head see of them; zeros in empty slots."""
        batch, capacity = found.labels.shape
        rows = padding.filled_rows(found.counts, capacity) if packed else None
        rois = padding.pack(padding.as_rois(found.boxes), rows)  # [N, 5]
        filled = padding.is_filled(found.counts, capacity)[..., None, None]

        def in_slots(values: Tensor) -> Tensor:
            """[N, ., .] -> [B, D, ., .]"""
            slots = padding.unpack(values, rows, batch * capacity).unflatten(0, (batch, capacity))
            return torch.where(filled, slots, 0)

        if self.mask_head is not None:
            labels = padding.pack(found.labels.flatten(), rows)
            logits = self.mask_head(self.regions(features, rois, self.mask_head.config.pooler), labels=labels)
            found = found._replace(mask_probs=in_slots(self.mask_head.probabilities(logits, labels)))
        if self.keypoint_head is not None:
            logits = self.keypoint_head(self.regions(features, rois, self.keypoint_head.config.pooler))
            found = found._replace(keypoints=in_slots(self.keypoint_head.keypoints(logits, rois[:, 1:])))
        return found


@torch.no_grad()
def sample_rois(
    proposals: Tensor, count: Tensor, target: Targets, config: BoxHeadConfig, sampler: Sampler
) -> SampledRoIs:
    """Match the proposals of one image to its objects and draw those that take part in the losses.

    The objects' own boxes join the proposals, so that there are positives from the first step on.

    proposals: [P, 4]; count: scalar int64, how many of them there are, the other rows are padding.
    """
    boxes = torch.cat((proposals, target.boxes))  # [P + M, 4]
    row = torch.arange(boxes.shape[0], device=boxes.device)
    is_padding = (row >= count) & (row < proposals.shape[0])
    matches = torch.where(is_padding, IGNORED, match_target(target, boxes, config))
    generator = target.random.on(boxes.device)
    sample = sampler(gather_labels(matches, target.labels), config.samples, config.positive_fraction, generator)
    matches = sample.gather(matches, empty=IGNORED)  # [S]
    boxes = boxes[sample.indices]
    return SampledRoIs(
        boxes=boxes,
        labels=gather_labels(matches, target.labels),
        matched=matches.clamp(min=0),
        deltas=regression_targets(target.boxes, matches, boxes, config.box_weights),
        positives=sample.positives,
    )


def drop_empty(rois: SampledRoIs) -> SampledRoIs:
    """The filled slots alone; reads how many there are."""
    filled = torch.where(rois.labels >= 0)[0]
    return SampledRoIs(
        rois.boxes[filled], rois.labels[filled], rois.matched[filled], rois.deltas[filled], int((rois.labels > 0).sum())
    )


def first_rois(rois: SampledRoIs, count: int) -> SampledRoIs:
    """The first ``count`` slots."""
    return SampledRoIs(rois.boxes[:count], rois.labels[:count], rois.matched[:count], rois.deltas[:count], count)
