"""The configuration of the first stage: anchors and proposals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fastmrcnn.models.config.checks import require, require_choice, require_layers, require_matching, require_positive

StrideRule = Literal["nominal", "measured"]
LossMean = Literal["sampled", "budget"]
Objectness = Literal["sigmoid", "softmax"]

DELTA_CLIP = math.log(1000.0 / 16)  # the largest log-scale that decoding accepts: a side grows at most 62.5 times
ANY_SIDE = 1e-30  # px: the ``min_box_size`` that drops boxes where a side is zero, and no others


@dataclass(frozen=True)
class AnchorConfig:
    """Reference boxes of the RPN; ``sizes[i]`` are those of feature map i, in px (square root of the area)."""

    sizes: tuple[tuple[float, ...], ...] = ((32,), (64,), (128,), (256,), (512,))
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width
    # Which of several anchors in a cell is which output of the head: the ratios of the first size, of the second, ...
    # (detectron2), or the sizes of the first ratio, ... (torchvision). The same where a level has one size.
    sizes_first: bool = False
    rounded: bool = False  # round the corners of the cell anchors to integers (torchvision does)
    # "nominal": 4..64; "measured": padded image size // feature size, which differs from 64 on P6 when P5 is odd.
    strides: StrideRule = "nominal"

    def __post_init__(self) -> None:
        require(
            len({len(level) for level in self.sizes}) == 1 and len(self.sizes[0]) > 0,
            self,
            "every level must have the same number of sizes (the head is shared), at least one",
            self.sizes,
        )
        for size in (size for level in self.sizes for size in level):
            require_positive(self, sizes=size)
        require(len(self.aspect_ratios) > 0, self, "aspect_ratios must name at least one", self.aspect_ratios)
        for ratio in self.aspect_ratios:
            require_positive(self, aspect_ratios=ratio)
        require_choice(self, StrideRule, strides=self.strides)

    @property
    def per_location(self) -> int:
        """Anchors at each cell of a feature map."""
        return len(self.sizes[0]) * len(self.aspect_ratios)


@dataclass(frozen=True)
class RPNConfig:
    """Region proposal network (Ren et al. 2015)."""

    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    convolutions: int = 1  # 3x3, before the two predictors
    channels: int | None = None  # of these convolutions; None: those of the feature maps
    # "sigmoid": one output an anchor, whether it is an object. "softmax": two, background and object, that compete
    # (Ren et al. 2015, Matterport).
    objectness: Objectness = "sigmoid"
    foreground_iou: float = 0.7  # an anchor with at least this IoU is an object
    background_iou: float = 0.3  # below this it is background; between the two it is ignored
    # Background with this share of its area in an ignore region (a crowd) is ignored too; None: it is background.
    ignore_overlap: float | None = 0.7
    samples: int = 256  # anchors an image in the loss
    positive_fraction: float = 0.5
    # The losses are divided by the number of anchors that were sampled, or by ``samples`` an image, full or not
    # (detectron2).
    loss_mean: LossMean = "sampled"
    pre_nms_train: int = 2000  # best anchors kept on each level before NMS
    pre_nms_test: int = 1000
    post_nms_train: int = 1000  # proposals kept an image
    post_nms_test: int = 1000
    across_levels: bool = False  # pre_nms and NMS take all levels together (Matterport)
    nms_iou: float = 0.7
    score_threshold: float = 0.0  # on the objectness probability
    min_box_size: float = 1e-3  # px; proposals with a shorter side are dropped
    box_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    delta_clip: float | None = DELTA_CLIP  # None: without limit (Matterport)
    smooth_l1_beta: float = 0.0  # 0 is the L1 loss

    def __post_init__(self) -> None:
        require_matching(self)
        require_positive(
            self,
            channels=1 if self.channels is None else self.channels,
            pre_nms_train=self.pre_nms_train,
            pre_nms_test=self.pre_nms_test,
            post_nms_train=self.post_nms_train,
            post_nms_test=self.post_nms_test,
        )
        require_layers(self, least=1, convolutions=self.convolutions)
        require_choice(self, LossMean, loss_mean=self.loss_mean)
        require_choice(self, Objectness, objectness=self.objectness)
