"""The Fast R-CNN head (Girshick 2015) in its FPN form: two fully connected layers, class scores and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.blocks import full_precision
from fastmrcnn.models.config import BoxHeadConfig
from fastmrcnn.models.instances import SampledRoIs
from fastmrcnn.models.losses import box_regression_loss, class_deltas, classification_loss, sampled
from fastmrcnn.models.pooling import pool_pyramid
from fastmrcnn.ops import PaddedDetections, PaddedProposals, select_detections


class BoxPrediction(NamedTuple):
    """Outputs of the head for K RoIs."""

    logits: Tensor  # [K, C + 1] float32; index 0 is the background
    deltas: Tensor  # [K, (C + 1) * 4] float32; class-specific, the background's four are never used


class BoxHead(nn.Module):
    """Classifies RoIs and refines their boxes, class by class."""

    def __init__(self, channels: int, num_classes: int, config: BoxHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.fc1 = nn.Linear(channels * config.roi_align.output_size**2, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.hidden)
        self.classifier = nn.Linear(config.hidden, num_classes + 1)
        self.deltas = nn.Linear(config.hidden, (num_classes + 1) * 4)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        self.reset_predictors()

    def reset_predictors(self) -> None:
        """The layers that depend on the classes: small weights, so that training starts undecided."""
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)
        nn.init.zeros_(self.deltas.bias)

    def forward(self, features: Sequence[Tensor], boxes: Tensor | Sequence[Tensor]) -> BoxPrediction:
        """P2..P6 and RoIs as :func:`pool_pyramid` takes them -> the prediction for all of them, in their order."""
        x = pool_pyramid(features, boxes, self.config.roi_align).flatten(1)  # [K, channels * S * S]
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return BoxPrediction(full_precision(self.classifier(x)), full_precision(self.deltas(x)))

    def losses(self, prediction: BoxPrediction, rois: Sequence[SampledRoIs]) -> dict[str, Tensor]:
        """``loss_classifier`` and ``loss_box_reg``, means over the sampled RoIs of the batch."""
        labels = torch.cat([roi.labels for roi in rois])  # [S]
        # Only the first slots of an image can hold positives.
        deltas = prediction.deltas.split([roi.labels.shape[0] for roi in rois])
        first_deltas = torch.cat([own[: roi.positives] for own, roi in zip(deltas, rois, strict=True)])
        first_labels = torch.cat([roi.labels[: roi.positives] for roi in rois])  # [P]
        return {
            "loss_classifier": classification_loss(prediction.logits, labels),
            "loss_box_reg": box_regression_loss(
                class_deltas(first_deltas, first_labels),
                torch.cat([roi.deltas[: roi.positives] for roi in rois]),
                first_labels > 0,
                beta=self.config.smooth_l1_beta,
                samples=sampled(labels),
            ),
        }

    def detect(self, prediction: BoxPrediction, proposals: PaddedProposals, image_sizes: Tensor) -> PaddedDetections:
        """Turn the prediction for B x P slots into detections: threshold, decode, clip, NMS within each class."""
        config = self.config
        return select_detections(
            prediction.logits,
            prediction.deltas,
            proposals.boxes,
            proposals.counts,
            image_sizes,
            score_threshold=config.score_threshold,
            nms_iou=config.nms_iou,
            detections=config.detections,
            min_size=config.min_box_size,
            weights=config.box_weights,
            clip=config.delta_clip,
        )
