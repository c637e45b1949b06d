"""Region proposal network (Ren et al. 2015) on one feature map or a pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.distributed import batch_sum
from fastmrcnn.models.anchors import make_anchors
from fastmrcnn.models.blocks import convolve, full_precision, init_conv, is_learning
from fastmrcnn.models.box_frame import BoxFrame
from fastmrcnn.models.config import RPNConfig
from fastmrcnn.models.instances import Size, Targets
from fastmrcnn.models.losses import box_regression_loss, objectness_loss, sampled
from fastmrcnn.models.matching import gather_labels, match_target, regression_targets
from fastmrcnn.models.sampling import Sampler, sample_balanced
from fastmrcnn.ops import PaddedProposals, generate_proposals


class RPNPrediction(NamedTuple):
    """Outputs of the head and the anchors they belong to, level by level, A to a cell."""

    logits: list[Tensor]  # [B, A, H_i, W_i]: objectness
    deltas: list[Tensor]  # [B, A * 4, H_i, W_i]
    anchors: list[Tensor]  # [H_i * W_i * A, 4] float32, px of the network's input


def in_anchor_order(levels: Sequence[Tensor], numbers: int) -> Tensor:
    """The head's output, [B, A * numbers, H_i, W_i], anchor by anchor: [B, sum of H_i * W_i * A, numbers] float32."""
    rows = [level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, numbers) for level in levels]
    return full_precision(torch.cat(rows, dim=1))


def as_one_level(prediction: RPNPrediction) -> RPNPrediction:
    """All levels as a map of one row, in the order of the anchors."""
    logits = in_anchor_order(prediction.logits, 1).transpose(1, 2)[:, :, None]  # [B, 1, 1, N]
    deltas = in_anchor_order(prediction.deltas, 4).transpose(1, 2)[:, :, None]  # [B, 4, 1, N]
    return RPNPrediction([logits], [deltas], [torch.cat(prediction.anchors)])


class RPNHead(nn.Module):
    """3x3 convolutions, then objectness and box deltas of every anchor by 1x1 convolutions; shared by all levels."""

    def __init__(self, inputs: int, config: RPNConfig) -> None:
        super().__init__()
        anchors, channels = config.anchors.per_location, config.channels or inputs
        widths = [inputs] + [channels] * config.convolutions
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.competing = config.objectness == "softmax"
        self.objectness = nn.Conv2d(channels, anchors * (2 if self.competing else 1), 1)
        self.deltas = nn.Conv2d(channels, anchors * 4, 1)
        self.joint: nn.Conv2d | None = None  # both in one, after join_predictors()
        for layer in (*self.convs, self.objectness, self.deltas):
            init_conv(layer, partial(nn.init.normal_, std=0.01))

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> logits [B, A, H, W], deltas [B, A * 4, H, W]."""
        x = feature
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            x = convolve(conv, x, relu=True)
        logits, deltas = self._predict(x)
        if self.competing:  # a softmax over two is the sigmoid of their difference
            background, foreground = logits.unflatten(1, (-1, 2)).unbind(2)
            logits = foreground - background
        return logits, deltas

    def join_predictors(self) -> None:
        """For inference: one convolution for both, which reads ``x`` once. Later changes of theirs do not reach it."""
        with torch.no_grad():
            weight, bias = self._joint_parameters()
            self.joint = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device="meta")
            self.joint.weight, self.joint.bias = (nn.Parameter(part, False) for part in (weight, bias))

    def _predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """In training one convolution for both: the gradient of ``x``, the largest tensor here, is written once."""
        if self.joint is not None:
            outputs = self.joint(x)
        elif is_learning(self.objectness):
            outputs = F.conv2d(x, *self._joint_parameters())
        else:
            return self.objectness(x), self.deltas(x)
        logits, deltas = outputs.split([self.objectness.out_channels, self.deltas.out_channels], dim=1)
        return logits, deltas

    def _joint_parameters(self) -> tuple[Tensor, Tensor]:
        """Weight and bias."""
        layers = (self.objectness, self.deltas)
        weight, bias = (torch.cat([getattr(layer, part) for layer in layers]) for part in ("weight", "bias"))
        return weight, bias


class RegionProposalNetwork(nn.Module):
    """Proposes regions that may hold an object, whatever its class.

    ``sampler`` chooses the anchors of the loss; replace it to fix the sample.
    """

    def __init__(self, channels: int, strides: Sequence[int], config: RPNConfig, frame: BoxFrame | None = None) -> None:
        super().__init__()
        self.config = config
        self.frame = frame or BoxFrame()
        self.strides = tuple(strides)  # of the feature maps, px of the network's input
        self.head = RPNHead(channels, config)
        self.sampler: Sampler = sample_balanced

    def forward(
        self, features: Sequence[Tensor], padded_size: Size, image_sizes: Tensor
    ) -> tuple[RPNPrediction, PaddedProposals]:
        """Feature maps -> the raw prediction, for the loss, and the proposals of each image, without gradient.

        padded_size: (height, width) of the padded batch, px. image_sizes: [B, 2] int64, of each image in it.
        Proposals are boxes as they are inside the network, see :class:`BoxFrame`.
        """
        outputs = [self.head(feature) for feature in features]
        prediction = RPNPrediction(
            logits=[logits for logits, _ in outputs],
            deltas=[deltas for _, deltas in outputs],
            anchors=make_anchors(features, self.strides, padded_size, self.config.anchors),
        )
        return prediction, self.propose(prediction, self.frame.proposal_limits(image_sizes))

    @torch.no_grad()
    def propose(self, prediction: RPNPrediction, limits: Tensor, *, training: bool | None = None) -> PaddedProposals:
        """The best anchors of each level, decoded, clipped to (height, width) ``limits`` [B, 2] and thinned by NMS
        within their level. training: as many as losses are drawn from, or as are detected in; None: by the mode."""
        config = self.config
        training = self.training if training is None else training
        levels = as_one_level(prediction) if config.across_levels else prediction
        return generate_proposals(
            levels.logits,
            levels.deltas,
            [self.frame.enter(anchors) for anchors in levels.anchors],
            limits,
            pre_nms=config.pre_nms_train if training else config.pre_nms_test,
            post_nms=config.post_nms_train if training else config.post_nms_test,
            nms_iou=config.nms_iou,
            min_size=config.min_box_size,
            score_threshold=config.score_threshold,
            weights=config.box_weights,
            clip=math.inf if config.delta_clip is None else config.delta_clip,
        )

    def losses(self, prediction: RPNPrediction, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """``loss_objectness`` and ``loss_rpn_box_reg``, means over the anchors of the sample (``loss_mean``)."""
        config = self.config
        anchors = torch.cat(prediction.anchors)  # [N, 4], of all levels
        drawn, first_drawn, labels, first_labels, wanted = [], [], [], [], []
        for image, target in enumerate(targets):
            matches = match_target(target, anchors, config, every_object=True)  # [N]
            is_object = gather_labels(matches, torch.ones_like(target.labels))  # [N]: 1, 0 or -1
            generator = target.random.on(is_object.device)
            sample = self.sampler(is_object, config.samples, config.positive_fraction, generator)
            indices, own_labels = sample.indices, sample.gather(is_object, empty=-1)  # [S]
            first = indices[: sample.positives]  # [P]: only these can be objects
            wanted.append(regression_targets(target.boxes, matches[first], anchors[first], config.box_weights))
            drawn.append(indices + image * anchors.shape[0])
            first_drawn.append(first + image * anchors.shape[0])
            labels.append(own_labels)
            first_labels.append(own_labels[: sample.positives])
        every_label = torch.cat(labels)
        # One look-up for all images: the gradient of each is as large as the prediction.
        logits = in_anchor_order(prediction.logits, 1).flatten()[torch.cat(drawn)]
        deltas = in_anchor_order(prediction.deltas, 4).flatten(0, 1)[torch.cat(first_drawn)]
        if config.loss_mean == "sampled":
            samples = sampled(every_label)
        else:
            samples = batch_sum(every_label.new_full((), config.samples * len(targets)))
        return {
            "loss_objectness": objectness_loss(logits, every_label, samples),
            "loss_rpn_box_reg": box_regression_loss(
                deltas,
                torch.cat(wanted),
                torch.cat(first_labels) > 0,
                beta=config.smooth_l1_beta,
                samples=samples,
            ),
        }
