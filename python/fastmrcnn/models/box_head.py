"""The Fast R-CNN head (Girshick 2015) in its FPN form: two fully connected layers, class scores and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.blocks import full_precision
from fastmrcnn.models.config import BoxHeadConfig
from fastmrcnn.models.instances import Instances, SampledRoIs, Size
from fastmrcnn.models.losses import box_regression_loss, class_deltas, classification_loss
from fastmrcnn.models.pooling import pool_pyramid
from fastmrcnn.ops import select_detections


@dataclass(frozen=True)
class BoxPrediction:
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

    def forward(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> BoxPrediction:
        """P2..P6 and the RoIs of each image, [K_b, 4] -> the prediction for all of them, image after image."""
        x = pool_pyramid(features, boxes, self.config.roi_align).flatten(1)  # [K, channels * S * S]
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return BoxPrediction(full_precision(self.classifier(x)), full_precision(self.deltas(x)))

    def losses(self, prediction: BoxPrediction, rois: Sequence[SampledRoIs]) -> dict[str, Tensor]:
        """``loss_classifier`` and ``loss_box_reg``, means over the sampled RoIs of the batch."""
        labels = torch.cat([roi.labels for roi in rois])  # [S]
        positive = torch.where(labels > 0)[0]  # [P]
        return {
            "loss_classifier": classification_loss(prediction.logits, labels),
            "loss_box_reg": box_regression_loss(
                class_deltas(prediction.deltas[positive], labels[positive]),
                torch.cat([roi.deltas for roi in rois])[positive],
                beta=self.config.smooth_l1_beta,
                samples=labels.shape[0],
            ),
        }

    def detect(self, prediction: BoxPrediction, boxes: Sequence[Tensor], sizes: Sequence[Size]) -> list[Instances]:
        """Turn the prediction into the detections of each image: threshold, decode, clip, NMS within each class."""
        counts = [box.shape[0] for box in boxes]
        images = zip(prediction.logits.split(counts), prediction.deltas.split(counts), boxes, sizes, strict=True)
        return [self._detect_one(*image) for image in images]

    def _detect_one(self, logits: Tensor, deltas: Tensor, boxes: Tensor, size: Size) -> Instances:
        config = self.config
        found = select_detections(
            logits,
            deltas,
            boxes[None],
            None,
            [size],
            score_threshold=config.score_threshold,
            nms_iou=config.nms_iou,
            detections=config.detections,
            min_size=config.min_box_size,
            weights=config.box_weights,
            clip=config.delta_clip,
        )
        [(refined, scores, labels, _)] = found.per_image()
        return Instances(refined, scores, labels)
