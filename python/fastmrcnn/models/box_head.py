"""The Fast R-CNN head (Girshick 2015) in the forms of its successors: class scores and boxes of regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.blocks import ConvNorm, LinearNorm, full_precision, init_conv
from fastmrcnn.models.config import BoxHeadConfig
from fastmrcnn.models.instances import SampledRoIs
from fastmrcnn.models.losses import box_regression_loss, class_deltas, classification_loss, sampled
from fastmrcnn.models.mask_nms import CANDIDATE_IOU, CANDIDATES
from fastmrcnn.ops import PaddedDetections, PaddedProposals, select_detections, select_detections_softly


class BoxPrediction(NamedTuple):
    """Outputs of the head for K RoIs."""

    logits: Tensor  # [K, C + 1] float32; index 0 is the background
    # [K, (C + 1) * 4] float32, those of the background never used; or [K, 4] of a class-agnostic head
    deltas: Tensor


class BoxHead(nn.Module):
    """Classifies RoIs and refines their boxes, for each class or for all alike.

    Args:
        inputs: channels of the regions. cells: their side.
    """

    def __init__(self, inputs: int, cells: int, num_classes: int, config: BoxHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.cells = cells
        widths = [inputs] + [config.channels] * config.convolutions
        self.convs = nn.ModuleList(
            ConvNorm(before, after, 3, norm=config.norm, eps=config.norm_eps) for before, after in pairwise(widths)
        )
        flat = widths[-1] * (cells**2 if config.fully_connected > 0 else 1)
        widths = [flat] + [config.hidden] * config.fully_connected
        self.layers = nn.ModuleList(
            LinearNorm(before, after, norm=config.fully_connected_norm, eps=config.norm_eps)
            for before, after in pairwise(widths)
        )
        self.reads_channels_last = False
        self.classifier = nn.Linear(widths[-1], num_classes + 1)
        self.deltas = nn.Linear(widths[-1], 4 if config.class_agnostic else (num_classes + 1) * 4)
        for module in self.convs.modules():
            if isinstance(module, nn.Conv2d):
                init_conv(module, partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"))
        for layer in self.layers:
            assert isinstance(layer, LinearNorm)
            nn.init.kaiming_uniform_(layer.linear.weight, a=1)
            nn.init.zeros_(layer.linear.bias)
        self.reset_predictors()

    def reset_predictors(self) -> None:
        """The layers that depend on the classes: small weights, so that training starts undecided."""
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)
        nn.init.zeros_(self.deltas.bias)

    def forward(self, regions: Tensor, filled: Tensor | None = None) -> BoxPrediction:
        """The pooled features of K RoIs, [K, inputs, cells, cells] -> the prediction for each.

        filled: [K] bool, which of them are no empty slots; None: all.
        """
        x = regions
        for conv in self.convs:
            x = conv(x, filled, relu=True)
        if self.reads_channels_last:
            x = x.permute(0, 2, 3, 1)
        x = x.flatten(1) if len(self.layers) > 0 else x.mean(dim=(2, 3))
        for layer in self.layers:
            x = F.relu(layer(x, filled))
        return BoxPrediction(full_precision(self.classifier(x)), full_precision(self.deltas(x)))

    @torch.no_grad()
    def read_channels_last(self) -> None:
        """For inference: put the columns of the first fully connected layer in the order that regions have in memory
        when they are channels-last, so that none are reordered."""
        if len(self.layers) == 0 or self.reads_channels_last:
            return
        first = self.layers[0]
        assert isinstance(first, LinearNorm)
        columns = first.linear.weight.unflatten(1, (-1, self.cells**2))  # [hidden, channels, cells * cells]
        first.linear.weight = nn.Parameter(columns.transpose(1, 2).flatten(1), requires_grad=False)
        self.reads_channels_last = True

    def losses(self, prediction: BoxPrediction, rois: Sequence[SampledRoIs]) -> dict[str, Tensor]:
        """``loss_classifier`` and ``loss_box_reg``, means over the sampled RoIs of the batch."""
        labels = torch.cat([roi.labels for roi in rois])  # [S]
        # Only the first slots of an image can hold positives.
        deltas = prediction.deltas.split([roi.labels.shape[0] for roi in rois])
        first_deltas = torch.cat([own[: roi.positives] for own, roi in zip(deltas, rois, strict=True)])
        first_labels = torch.cat([roi.labels[: roi.positives] for roi in rois])  # [P]
        samples = sampled(labels)
        return {
            "loss_classifier": classification_loss(prediction.logits, labels, samples),
            "loss_box_reg": box_regression_loss(
                class_deltas(first_deltas, first_labels),
                torch.cat([roi.deltas[: roi.positives] for roi in rois]),
                first_labels > 0,
                beta=self.config.smooth_l1_beta,
                samples=samples,
            ),
        }

    def detect(self, prediction: BoxPrediction, proposals: PaddedProposals, limits: Tensor) -> PaddedDetections:
        """Turn the prediction for B x P slots into detections: threshold, decode, clip, NMS within each class.

        Where masks are to be compared these are candidates, of which :func:`~fastmrcnn.models.mask_nms.thin_by_masks`
        leaves the detections.

        limits: [B, 2] int64, (height, width) that boxes are clipped to.
        """
        config = self.config
        if config.best_class_only:
            prediction = best_class(prediction)
        select, nms_iou, detections = select_detections, config.nms_iou, config.detections
        if config.nms == "mask":
            nms_iou, detections = CANDIDATE_IOU, CANDIDATES * config.detections
        elif config.nms != "box":
            select = partial(select_detections_softly, method=config.nms, sigma=config.nms_sigma)
        return select(
            prediction.logits,
            prediction.deltas,
            proposals.boxes,
            proposals.counts,
            limits,
            score_threshold=config.score_threshold,
            nms_iou=nms_iou,
            detections=detections,
            min_size=config.min_box_size,
            weights=config.box_weights,
            clip=math.inf if config.delta_clip is None else config.delta_clip,
        )


def best_class(prediction: BoxPrediction) -> BoxPrediction:
    """The same probability for the likeliest class of each RoI and none for the other classes.

    Deltas are those of that class alone, [K, 4].
    """
    best = prediction.logits.argmax(dim=1)  # [K]
    is_best = torch.arange(prediction.logits.shape[1], device=best.device) == best[:, None]  # [K, C + 1]
    alone = torch.where(is_best, prediction.logits, -math.inf)
    rest = torch.where(is_best, -math.inf, prediction.logits).logsumexp(dim=1)
    background = torch.where(best == 0, prediction.logits[:, 0], rest)  # takes the share of all that is left out
    logits = torch.cat((background[:, None], alone[:, 1:]), dim=1)
    deltas = prediction.deltas
    return BoxPrediction(logits, deltas if deltas.shape[1] == 4 else class_deltas(deltas, best))
