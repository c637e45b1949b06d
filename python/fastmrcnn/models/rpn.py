"""Region proposal network (Ren et al. 2015) on a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.anchors import make_anchors
from fastmrcnn.models.blocks import full_precision, init_conv
from fastmrcnn.models.config import RPNConfig
from fastmrcnn.models.instances import ImageBatch, Proposals, Size, Targets
from fastmrcnn.models.losses import box_regression_loss, objectness_loss
from fastmrcnn.models.matching import gather_labels
from fastmrcnn.models.sampling import Sampler, sample_balanced
from fastmrcnn.ops import batched_nms, clip_boxes_to_image, decode_boxes, encode_boxes, match_boxes, remove_small_boxes


@dataclass(frozen=True)
class RPNPrediction:
    """Outputs of the head and the anchors they belong to, level by level; A_i = rows * columns * anchors per cell."""

    logits: list[Tensor]  # [B, A_i] float32: objectness
    deltas: list[Tensor]  # [B, A_i, 4] float32
    anchors: list[Tensor]  # [A_i, 4] float32, px of the network's input


class RPNHead(nn.Module):
    """A 3x3 convolution, then objectness and box deltas of every anchor by 1x1 convolutions; shared by all levels."""

    def __init__(self, channels: int, anchors_per_cell: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, anchors_per_cell, 1)
        self.deltas = nn.Conv2d(channels, anchors_per_cell * 4, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            init_conv(layer, partial(nn.init.normal_, std=0.01))

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> logits [B, H * W * A], deltas [B, H * W * A, 4], in the order of the anchors."""
        x = F.relu(self.conv(feature))
        logits = self.objectness(x).permute(0, 2, 3, 1).flatten(1)
        deltas = self.deltas(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
        return full_precision(logits), full_precision(deltas)


class RegionProposalNetwork(nn.Module):
    """Proposes regions that may hold an object, whatever its class.

    ``sampler`` chooses the anchors of the loss; replace it to fix the sample.
    """

    def __init__(self, channels: int, config: RPNConfig) -> None:
        super().__init__()
        self.config = config
        self.head = RPNHead(channels, config.anchors.per_location)
        self.sampler: Sampler = sample_balanced

    def forward(self, images: ImageBatch, features: Sequence[Tensor]) -> tuple[RPNPrediction, list[Proposals]]:
        """P2..P6 -> the raw prediction, for the loss, and the proposals of each image, without gradient."""
        outputs = [self.head(feature) for feature in features]
        height, width = images.pixels.shape[-2:]
        prediction = RPNPrediction(
            logits=[logits for logits, _ in outputs],
            deltas=[deltas for _, deltas in outputs],
            anchors=make_anchors(features, (height, width), self.config.anchors),
        )
        return prediction, self.propose(prediction, images.sizes)

    @torch.no_grad()
    def propose(self, prediction: RPNPrediction, sizes: Sequence[Size]) -> list[Proposals]:
        """The best anchors of each level, decoded, clipped and thinned by NMS within their level."""
        config = self.config
        candidates = config.pre_nms_train if self.training else config.pre_nms_test
        scores, boxes, levels = [], [], []
        for level, (logits, deltas, anchors) in enumerate(
            zip(prediction.logits, prediction.deltas, prediction.anchors, strict=True)
        ):
            top = logits.topk(min(candidates, logits.shape[1]), dim=1)  # [B, K]
            best = deltas.gather(1, top.indices[:, :, None].expand(-1, -1, 4)).flatten(0, 1)  # [B * K, 4]
            decoded = decode_boxes(best, anchors[top.indices.flatten()], config.box_weights, config.delta_clip)
            boxes.append(decoded.unflatten(0, top.indices.shape))  # [B, K, 4]
            scores.append(top.values.sigmoid())
            levels.append(torch.full_like(top.indices[0], level))
        level_of = torch.cat(levels)  # [K of all levels]
        return [
            self._suppress(box, score, level_of, size)
            for box, score, size in zip(torch.cat(boxes, dim=1), torch.cat(scores, dim=1), sizes, strict=True)
        ]

    def _suppress(self, boxes: Tensor, scores: Tensor, levels: Tensor, size: Size) -> Proposals:
        config = self.config
        limit = config.post_nms_train if self.training else config.post_nms_test
        boxes = clip_boxes_to_image(boxes, size)
        large = remove_small_boxes(boxes, config.min_box_size)
        boxes, scores, levels = boxes[large], scores[large], levels[large]
        if config.score_threshold > 0:
            likely = scores >= config.score_threshold
            boxes, scores, levels = boxes[likely], scores[likely], levels[likely]
        keep = batched_nms(boxes, scores, levels, config.nms_iou)[:limit]
        return Proposals(boxes[keep], scores[keep])

    def losses(self, prediction: RPNPrediction, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """``loss_objectness`` and ``loss_rpn_box_reg``, means over the sampled anchors of the batch."""
        config = self.config
        anchors = torch.cat(prediction.anchors)  # [A, 4]
        all_logits = torch.cat(prediction.logits, dim=1)  # [B, A]
        all_deltas = torch.cat(prediction.deltas, dim=1)  # [B, A, 4]
        logits, labels, deltas, wanted = [], [], [], []
        for index, target in enumerate(targets):
            matches = match_boxes(
                target.boxes,
                anchors,
                foreground=config.foreground_iou,
                background=config.background_iou,
                every_object=True,
                ignore_regions=target.ignore,
                ignore_overlap=config.ignore_overlap,
            )
            is_object = gather_labels(matches, torch.ones_like(target.labels))  # [A]: 1, 0 or -1
            sample = self.sampler(is_object, config.samples, config.positive_fraction)
            chosen, positive = sample.both, sample.positive
            logits.append(all_logits[index, chosen])
            labels.append(is_object[chosen])
            deltas.append(all_deltas[index, positive])
            wanted.append(encode_boxes(target.boxes[matches[positive]], anchors[positive], config.box_weights))
        sampled = torch.cat(labels)  # [S]
        return {
            "loss_objectness": objectness_loss(torch.cat(logits), sampled),
            "loss_rpn_box_reg": box_regression_loss(
                torch.cat(deltas), torch.cat(wanted), beta=config.smooth_l1_beta, samples=sampled.shape[0]
            ),
        }
