"""The configuration of the second stage: pooling of the regions and the heads that read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fastmrcnn.models.config.backbone import Norm
from fastmrcnn.models.config.checks import (
    as_names,
    require,
    require_choice,
    require_layers,
    require_matching,
    require_norm_groups,
    require_not_negative,
    require_positive,
)
from fastmrcnn.models.config.rpn import DELTA_CLIP
from fastmrcnn.ops import LevelRule

# "roi_align": He et al. 2017, section 3. "roi_pool": the quantised pooling of Girshick 2015, its predecessor.
# "crop_and_resize": TensorFlow's, one sample a cell, the outer ones on the RoI's corners (Matterport).
Pooling = Literal["roi_align", "roi_pool", "crop_and_resize"]
# What is done about several boxes on one object, class by class. "box": of boxes whose IoU is above nms_iou the best
# one stays. "linear", "gaussian": the scores of boxes that overlap a better one fall (soft-NMS, Bodla et al. 2017).
# "mask": of masks whose IoU is above nms_iou the best one stays; the mask head then draws four times as many.
NMSMethod = Literal["box", "linear", "gaussian", "mask"]
PasteMethod = Literal["exact", "torchvision", "skimage"]
MaskPredictor = Literal["fcn", "mlp"]
MaskActivation = Literal["sigmoid", "softmax"]
KeypointScore = Literal["probability", "logit"]


@dataclass(frozen=True)
class PoolerConfig:
    """How the features of a region are read; in a pyramid a square of side ``canonical_scale`` is read from level
    ``canonical_level``."""

    output_size: int = 7  # cells on a side
    method: Pooling = "roi_align"
    sampling_ratio: int = 0  # RoIAlign's samples on a side of each cell; 0: as many as feature cells it covers
    aligned: bool = True  # RoIAlign's half-pixel shift, so that pixel centres line up (detectron2); False: without
    canonical_scale: float = 224.0  # px
    canonical_level: int = 4
    level_rule: LevelRule = "torchvision"  # how a size on the border between two levels is rounded
    # The level nearest to the size on a logarithmic scale, in place of the one below it (Matterport).
    nearest_level: bool = False

    def __post_init__(self) -> None:
        require_positive(self, output_size=self.output_size, canonical_scale=self.canonical_scale)
        require(self.sampling_ratio >= 0, self, "sampling_ratio must be >= 0 (0: adaptive)", self.sampling_ratio)
        require_choice(self, Pooling, method=self.method)
        require_choice(self, LevelRule, level_rule=self.level_rule)
        if self.method == "crop_and_resize":
            require(self.output_size > 1, self, "crop_and_resize needs an output_size of 2 or more", self.output_size)
        else:
            require(not self.nearest_level, self, "nearest_level needs crop_and_resize", self.method)


@dataclass(frozen=True)
class BoxHeadConfig:
    """Fast R-CNN head: convolutions, fully connected layers, then class scores and boxes.

    Without fully connected layers the predictors read the mean over the cells (C4, where stage 5 comes before them).
    """

    pooler: PoolerConfig = field(default_factory=PoolerConfig)
    convolutions: int = 0  # 3x3
    channels: int = 256  # of the convolutions
    norm: Norm = "none"  # after each convolution
    fully_connected: int = 2
    hidden: int = 1024  # units of a fully connected layer
    fully_connected_norm: Norm = "none"  # after each fully connected layer (Matterport: batch normalisation)
    norm_eps: float = 1e-5
    class_agnostic: bool = False  # one box for all classes
    foreground_iou: float = 0.5
    background_iou: float = 0.5
    ignore_overlap: float | None = 0.7  # as for the RPN
    samples: int = 512  # RoIs an image in the loss
    positive_fraction: float = 0.25
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    delta_clip: float | None = DELTA_CLIP
    smooth_l1_beta: float = 0.0  # 0 is the L1 loss
    best_class_only: bool = False  # a RoI gives one detection at most, of its likeliest class (Matterport)
    score_threshold: float = 0.05
    nms: NMSMethod = "box"
    nms_iou: float = 0.5  # of "linear": the IoU from which on scores fall; "gaussian" has no such limit
    nms_sigma: float = 0.5  # of "gaussian": a score is multiplied by exp(-IoU^2 / nms_sigma)
    min_box_size: float = 1e-2  # px; detections with a shorter side are dropped
    detections: int = 100  # kept an image

    def __post_init__(self) -> None:
        require_matching(self)
        require_layers(self, convolutions=self.convolutions, fully_connected=self.fully_connected)
        require_not_negative(self, norm_eps=self.norm_eps)
        require_positive(self, channels=self.channels, hidden=self.hidden, detections=self.detections)
        require_choice(self, NMSMethod, nms=self.nms)
        require_positive(self, nms_sigma=self.nms_sigma)
        require_choice(self, Norm, norm=self.norm, fully_connected_norm=self.fully_connected_norm)
        require_norm_groups(self, self.norm, channels=self.channels)
        require_norm_groups(self, self.fully_connected_norm, hidden=self.hidden)


@dataclass(frozen=True)
class MaskHeadConfig:
    """The mask head (He et al. 2017): convolutions, a 2x deconvolution, one mask per class."""

    pooler: PoolerConfig = field(default_factory=lambda: PoolerConfig(output_size=14))
    channels: int = 256
    convolutions: int = 4
    norm: Norm = "none"  # after each 3x3 convolution
    norm_eps: float = 1e-5
    conv_bias: bool = False  # 3x3 convolutions have a bias although a normalisation follows (Matterport)
    # "fcn": the deconvolution and what follows. "mlp": fully connected layers in its place (He et al. 2017, table 2e,
    # whose head is this alone: there ``convolutions`` is 0).
    predictor: MaskPredictor = "fcn"
    fully_connected: int = 2  # hidden layers of the "mlp"
    hidden: int = 1024  # units of each
    # "sigmoid": each class has a mask of its own. "softmax": classes compete for the pixels, as in an FCN for semantic
    # segmentation (He et al. 2017, table 2b).
    activation: MaskActivation = "sigmoid"
    class_agnostic: bool = False  # one mask for all classes
    target_aligned: bool = True  # RoIAlign that crops the targets out of the bitmaps: half-pixel shift or not
    binary_targets: bool = False  # targets of zeros and ones (detectron2) in place of the share that the object covers
    paste: PasteMethod = "exact"  # how a mask is brought to the image's resolution

    def __post_init__(self) -> None:
        require_positive(self, channels=self.channels, hidden=self.hidden)
        require_layers(self, convolutions=self.convolutions, fully_connected=self.fully_connected)
        require_not_negative(self, norm_eps=self.norm_eps)
        require_choice(self, Norm, norm=self.norm)
        require_norm_groups(self, self.norm, channels=self.channels)
        require_choice(self, PasteMethod, paste=self.paste)
        require_choice(self, MaskPredictor, predictor=self.predictor)
        require_choice(self, MaskActivation, activation=self.activation)
        together = self.activation == "softmax" and self.class_agnostic
        require(not together, self, "softmax needs a mask per class; class_agnostic must be False", self.class_agnostic)


COCO_KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)


@dataclass(frozen=True)
class KeypointHeadConfig:
    """The keypoint head (He et al. 2017, section 5): convolutions, a 4x upsampling, one heatmap per keypoint."""

    keypoint_names: tuple[str, ...] = COCO_KEYPOINTS
    pooler: PoolerConfig = field(default_factory=lambda: PoolerConfig(output_size=14))
    channels: int = 512
    convolutions: int = 8
    # Of a keypoint that was found: what the softmax over the heatmap gives (detectron2), or the heatmap's height there
    # (torchvision).
    score: KeypointScore = "probability"
    # COCO's keypoints are whole numbers of pixels. Half a pixel makes them pixel centres (detectron2); torchvision's
    # models learn the numbers as they are: 0. Added where annotations are read, subtracted where results are written.
    annotation_offset: float = 0.5

    def __post_init__(self) -> None:
        names = as_names(self.keypoint_names)
        object.__setattr__(self, "keypoint_names", names)
        require(len(set(names)) == len(names) > 0, self, "keypoint_names must differ, at least one", names)
        require_positive(self, channels=self.channels)
        require_layers(self, least=1, convolutions=self.convolutions)
        require_choice(self, KeypointScore, score=self.score)
