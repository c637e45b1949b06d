"""The second stage: sampling RoIs for training, and the box and mask heads in their order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastmrcnn.models.box_head import BoxHead
from fastmrcnn.models.config import BoxHeadConfig, MaskRCNNConfig
from fastmrcnn.models.instances import Instances, Proposals, SampledRoIs, Size, Targets
from fastmrcnn.models.mask_head import MaskHead, select_masks
from fastmrcnn.models.matching import gather_labels, match_target
from fastmrcnn.models.sampling import Sampler, sample_balanced
from fastmrcnn.ops import encode_boxes


class RoIHeads(nn.Module):
    """Box head, then mask head: on the positive samples in training, on the detections in inference.

    ``sampler`` chooses the RoIs of the losses; replace it to fix the sample.
    """

    def __init__(self, config: MaskRCNNConfig) -> None:
        super().__init__()
        self.box_head = BoxHead(config.fpn.channels, config.num_classes, config.box_head)
        self.mask_head = MaskHead(config.fpn.channels, config.num_classes, config.mask_head)
        self.sampler: Sampler = sample_balanced

    def losses(
        self, features: Sequence[Tensor], proposals: Sequence[Proposals], targets: Sequence[Targets]
    ) -> dict[str, Tensor]:
        """``loss_classifier``, ``loss_box_reg`` and ``loss_mask``."""
        rois = [
            sample_rois(proposal.boxes, target, self.box_head.config, self.sampler)
            for proposal, target in zip(proposals, targets, strict=True)
        ]
        prediction = self.box_head(features, [roi.boxes for roi in rois])
        positive = [keep_positive(roi) for roi in rois]
        logits = self.mask_head(features, [roi.boxes for roi in positive])
        return self.box_head.losses(prediction, rois) | self.mask_head.losses(logits, positive, targets)

    def detect(
        self, features: Sequence[Tensor], proposals: Sequence[Proposals], sizes: Sequence[Size]
    ) -> tuple[list[Instances], list[Tensor]]:
        """The instances of each image and their mask probabilities, [N, M, M]."""
        boxes = [proposal.boxes for proposal in proposals]
        instances = self.box_head.detect(self.box_head(features, boxes), boxes, sizes)
        logits = self.mask_head(features, [found.boxes for found in instances])
        probabilities = select_masks(logits, torch.cat([found.labels for found in instances]))
        return instances, list(probabilities.split([found.boxes.shape[0] for found in instances]))


@torch.no_grad()
def sample_rois(proposals: Tensor, target: Targets, config: BoxHeadConfig, sampler: Sampler) -> SampledRoIs:
    """Match the proposals of one image to its objects and draw those that take part in the losses.

    The objects' own boxes join the proposals, so that there are positives from the first step on. proposals: [P, 4].
    """
    boxes = torch.cat((proposals, target.boxes))  # [P + M, 4]
    matches = match_target(target, boxes, config)
    labels = gather_labels(matches, target.labels)
    chosen = sampler(labels, config.samples, config.positive_fraction).both
    boxes, labels, matched = boxes[chosen], labels[chosen], matches[chosen].clamp(min=0)
    own_boxes = target.boxes[matched] if len(target.boxes) else torch.zeros_like(boxes)
    positive = (labels > 0)[:, None]
    # Background has no object: it is encoded as its own box, to keep logarithms of zero out of the tensors.
    deltas = encode_boxes(torch.where(positive, own_boxes, boxes), boxes, config.box_weights)
    return SampledRoIs(boxes, labels, matched, deltas)


def keep_positive(rois: SampledRoIs) -> SampledRoIs:
    """The RoIs that have an object."""
    positive = torch.where(rois.labels > 0)[0]
    return SampledRoIs(rois.boxes[positive], rois.labels[positive], rois.matched[positive], rois.deltas[positive])
