"""What a Mask R-CNN is made of, as frozen dataclasses: one per component, checked on construction.

Published families agree on the architecture and differ in details of its mathematics (rounding of anchors, RoIAlign's
half pixel, paste, ...). Every such detail is a field here, never a constant in a module; a family is a preset
(:mod:`fastmrcnn.models.presets`) that sets them. Pixels are those of the network's input unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fastmrcnn.models.plain import from_plain, to_plain
from fastmrcnn.ops import LevelRule

Norm = Literal["none", "frozen_bn", "bn", "sync_bn", "gn"]
Depth = Literal[18, 34, 50, 101, 152]
StrideRule = Literal["nominal", "measured"]
PoolPadding = Literal["symmetric", "same"]
PasteMethod = Literal["exact", "torchvision"]

FPN_STRIDES = (4, 8, 16, 32, 64)  # P2..P6, input pixels per feature cell
DELTA_CLIP = math.log(1000.0 / 16)  # the largest log-scale that decoding accepts: a side grows at most 62.5 times


def _require(condition: bool, component: object, expectation: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{type(component).__name__}: {expectation}; got {got!r}")


def as_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """A tuple of class names; ValueError for a single string, which would pass for a list of its letters."""
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise ValueError(f"class_names must be a sequence of strings; got {class_names!r}")
    return tuple(class_names)


def _require_fraction(component: object, **values: float) -> None:
    for name, value in values.items():
        _require(0.0 <= value <= 1.0, component, f"{name} must lie in 0..1", value)


def _require_ignore_overlap(component: object, share: float | None) -> None:
    _require(share is None or 0 < share <= 1, component, "ignore_overlap must lie in (0, 1] or be None", share)


def _require_positive(component: object, **values: float) -> None:
    for name, value in values.items():
        _require(value > 0, component, f"{name} must be positive", value)


@dataclass(frozen=True)
class InputConfig:
    """How an image becomes the network's input: normalise, resize, pad to a common size."""

    min_size: int = 800  # the shorter side after resizing, px
    max_size: int = 1333  # the longer side never exceeds this, px; wins over min_size
    train_min_sizes: tuple[int, ...] = ()  # in training, one of these is drawn for each image; empty: min_size
    enlarge: bool = True  # False: images smaller than min_size keep their size
    antialias: bool = True  # low-pass before shrinking, as PIL does
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # RGB in 0..1
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    size_divisor: int = 32  # the padded batch is a multiple of this, px

    def __post_init__(self) -> None:
        _require_positive(self, min_size=self.min_size, size_divisor=self.size_divisor, std=min(self.std))
        _require(self.max_size >= self.min_size, self, f"max_size must be >= min_size {self.min_size}", self.max_size)
        _require(
            all(0 < size <= self.max_size for size in self.train_min_sizes),
            self,
            f"train_min_sizes must lie in 1..{self.max_size}",
            self.train_min_sizes,
        )


@dataclass(frozen=True)
class BackboneConfig:
    """ResNet (He et al. 2016) or ResNeXt (Xie et al. 2017, whose 101-32x8d has 32 groups of width 8)."""

    depth: Depth = 50
    width: int = 64  # channels of the stem; the four stages have width * (1, 2, 4, 8) (* 4 with bottlenecks)
    groups: int = 1  # of the 3x3 convolutions of bottlenecks
    group_width: int = 64  # channels of a group in stage 2, where the stem has 64; doubled from stage to stage
    # Where a bottleneck strides: in its first 1x1 convolution (the paper, detectron2, Matterport) or in
    # the 3x3 one (torchvision, "v1.5").
    stride_in_1x1: bool = False
    dilated: bool = False  # stage 5 keeps the stride of stage 4 and dilates its 3x3 convolutions by two: DC5
    norm: Norm = "frozen_bn"
    norm_eps: float = 1e-5
    conv_bias: bool = False  # convolutions have a bias although a normalisation follows (Matterport)
    # The stem's 3x3 max pool of stride 2 is padded on all sides, or at the bottom and the right alone, as TensorFlow's
    # SAME rule has it for even sizes (Matterport).
    pool_padding: PoolPadding = "symmetric"
    # How many of (stem, stage 2, .., stage 5), from the front, receive no gradient. Running statistics of "bn" still
    # follow the data there; "frozen_bn" holds them too.
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        _require(self.depth in get_args(Depth), self, "depth must be 18, 34, 50, 101 or 152", self.depth)
        norms = ("frozen_bn", "bn", "sync_bn", "gn")
        _require(self.norm in norms, self, "norm must be frozen_bn, bn, sync_bn or gn", self.norm)
        _require(self.width > 0 and self.width % 8 == 0, self, "width must be a positive multiple of 8", self.width)
        _require_positive(self, groups=self.groups, group_width=self.group_width)
        _require(self.norm_eps >= 0, self, "norm_eps must be >= 0", self.norm_eps)
        _require(0 <= self.frozen_stages <= 5, self, "frozen_stages must lie in 0..5", self.frozen_stages)
        paddings = get_args(PoolPadding)
        _require(self.pool_padding in paddings, self, "pool_padding must be symmetric or same", self.pool_padding)
        if not self.has_bottlenecks:
            plain = self.groups == 1 and self.group_width == 64 and not self.stride_in_1x1 and not self.dilated
            _require(plain, self, "groups, stride_in_1x1 and dilated need bottlenecks, depth 50 or more", self.depth)
        inner = self.width * self.group_width // 64
        _require(inner > 0, self, "group_width must leave groups of one channel or more", self.group_width)

    @property
    def has_bottlenecks(self) -> bool:
        return self.depth >= 50

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Channels of C2..C5."""
        base = self.width * (4 if self.has_bottlenecks else 1)
        return (base, base * 2, base * 4, base * 8)

    @property
    def inner_channels(self) -> tuple[int, int, int, int]:
        """Channels of the 3x3 convolutions in the bottlenecks of each stage."""
        base = self.width * self.group_width // 64 * self.groups
        return (base, base * 2, base * 4, base * 8)

    @property
    def stage_strides(self) -> tuple[int, int, int, int]:
        """Input pixels per cell of C2..C5."""
        return (4, 8, 16, 16 if self.dilated else 32)


@dataclass(frozen=True)
class FPNConfig:
    """Feature pyramid (Lin et al. 2017): P2..P5 and the subsampled P6."""

    channels: int = 256
    norm: Norm = "none"  # after each convolution

    def __post_init__(self) -> None:
        _require_positive(self, channels=self.channels)
        _require(self.norm in ("none", "bn", "gn"), self, "norm must be none, bn or gn", self.norm)


@dataclass(frozen=True)
class AnchorConfig:
    """Reference boxes of the RPN; ``sizes[i]`` are those of pyramid level i, in px (square root of the area)."""

    sizes: tuple[tuple[float, ...], ...] = ((32,), (64,), (128,), (256,), (512,))
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width
    rounded: bool = False  # round the corners of the cell anchors to integers (torchvision does)
    # "nominal": 4..64; "measured": padded image size // feature size, which differs from 64 on P6 when P5 is odd.
    strides: StrideRule = "nominal"

    def __post_init__(self) -> None:
        _require(len(self.sizes) == len(FPN_STRIDES), self, f"sizes must name {len(FPN_STRIDES)} levels", self.sizes)
        _require(
            len({len(level) for level in self.sizes}) == 1 and len(self.sizes[0]) > 0,
            self,
            "every level must have the same number of sizes (the head is shared), at least one",
            self.sizes,
        )
        _require(all(size > 0 for level in self.sizes for size in level), self, "sizes must be positive", self.sizes)
        _require(
            len(self.aspect_ratios) > 0 and all(ratio > 0 for ratio in self.aspect_ratios),
            self,
            "aspect_ratios must be positive, at least one",
            self.aspect_ratios,
        )
        _require(self.strides in get_args(StrideRule), self, "strides must be nominal or measured", self.strides)

    @property
    def per_location(self) -> int:
        """Anchors at each cell of a feature map."""
        return len(self.sizes[0]) * len(self.aspect_ratios)


@dataclass(frozen=True)
class RPNConfig:
    """Region proposal network (Ren et al. 2015)."""

    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    foreground_iou: float = 0.7  # an anchor with at least this IoU is an object
    background_iou: float = 0.3  # below this it is background; between the two it is ignored
    # Background with this share of its area in an ignore region (a crowd) is ignored too; None: it is background.
    ignore_overlap: float | None = 0.7
    samples: int = 256  # anchors an image in the loss
    positive_fraction: float = 0.5
    pre_nms_train: int = 2000  # best anchors kept on each level before NMS
    pre_nms_test: int = 1000
    post_nms_train: int = 1000  # proposals kept an image
    post_nms_test: int = 1000
    nms_iou: float = 0.7
    score_threshold: float = 0.0  # on the objectness probability
    min_box_size: float = 1e-3  # px; proposals with a shorter side are dropped
    box_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    delta_clip: float = DELTA_CLIP
    smooth_l1_beta: float = 0.0  # 0 is the L1 loss

    def __post_init__(self) -> None:
        _require_fraction(
            self,
            foreground_iou=self.foreground_iou,
            background_iou=self.background_iou,
            positive_fraction=self.positive_fraction,
            nms_iou=self.nms_iou,
            score_threshold=self.score_threshold,
        )
        expectation = f"background_iou must be <= foreground_iou {self.foreground_iou}"
        _require(self.background_iou <= self.foreground_iou, self, expectation, self.background_iou)
        _require_ignore_overlap(self, self.ignore_overlap)
        _require_positive(
            self,
            samples=self.samples,
            pre_nms_train=self.pre_nms_train,
            pre_nms_test=self.pre_nms_test,
            post_nms_train=self.post_nms_train,
            post_nms_test=self.post_nms_test,
            box_weights=min(self.box_weights),
            delta_clip=self.delta_clip,
        )
        _require(self.smooth_l1_beta >= 0, self, "smooth_l1_beta must be >= 0", self.smooth_l1_beta)


@dataclass(frozen=True)
class RoIAlignConfig:
    """RoIAlign over the pyramid: a square of side ``canonical_scale`` is pooled from level ``canonical_level``."""

    output_size: int = 7  # cells on a side
    sampling_ratio: int = 0  # samples on a side of each cell; 0: as many as feature cells it covers
    aligned: bool = True  # shift by half a pixel, so that pixel centres line up (detectron2); False: the first version
    canonical_scale: float = 224.0  # px
    canonical_level: int = 4
    level_rule: LevelRule = "torchvision"  # how a size on the border between two levels is rounded

    def __post_init__(self) -> None:
        _require_positive(self, output_size=self.output_size, canonical_scale=self.canonical_scale)
        _require(self.sampling_ratio >= 0, self, "sampling_ratio must be >= 0 (0: adaptive)", self.sampling_ratio)
        _require(
            self.level_rule in get_args(LevelRule),
            self,
            "level_rule must be torchvision or detectron2",
            self.level_rule,
        )


@dataclass(frozen=True)
class BoxHeadConfig:
    """Fast R-CNN head: two fully connected layers, then class scores and class-specific boxes."""

    roi_align: RoIAlignConfig = field(default_factory=RoIAlignConfig)
    hidden: int = 1024  # units of the fully connected layers
    foreground_iou: float = 0.5
    background_iou: float = 0.5
    ignore_overlap: float | None = 0.7  # as for the RPN
    samples: int = 512  # RoIs an image in the loss
    positive_fraction: float = 0.25
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    delta_clip: float = DELTA_CLIP
    smooth_l1_beta: float = 0.0  # 0 is the L1 loss
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    min_box_size: float = 1e-2  # px; detections with a shorter side are dropped
    detections: int = 100  # kept an image

    def __post_init__(self) -> None:
        _require_fraction(
            self,
            foreground_iou=self.foreground_iou,
            background_iou=self.background_iou,
            positive_fraction=self.positive_fraction,
            nms_iou=self.nms_iou,
            score_threshold=self.score_threshold,
        )
        expectation = f"background_iou must be <= foreground_iou {self.foreground_iou}"
        _require(self.background_iou <= self.foreground_iou, self, expectation, self.background_iou)
        _require_ignore_overlap(self, self.ignore_overlap)
        _require_positive(
            self,
            hidden=self.hidden,
            samples=self.samples,
            detections=self.detections,
            box_weights=min(self.box_weights),
            delta_clip=self.delta_clip,
        )
        _require(self.smooth_l1_beta >= 0, self, "smooth_l1_beta must be >= 0", self.smooth_l1_beta)


@dataclass(frozen=True)
class MaskHeadConfig:
    """The FCN mask head (He et al. 2017): convolutions, a 2x deconvolution, one mask per class."""

    roi_align: RoIAlignConfig = field(default_factory=lambda: RoIAlignConfig(output_size=14))
    channels: int = 256
    convolutions: int = 4
    norm: Norm = "none"  # after each 3x3 convolution
    target_aligned: bool = True  # RoIAlign that crops the targets out of the bitmaps: half-pixel shift or not
    paste: PasteMethod = "exact"  # how a mask is brought to the image's resolution

    def __post_init__(self) -> None:
        _require_positive(self, channels=self.channels, convolutions=self.convolutions)
        _require(self.norm in ("none", "gn"), self, "norm must be none or gn", self.norm)
        _require(self.paste in get_args(PasteMethod), self, "paste must be exact or torchvision", self.paste)


@dataclass(frozen=True)
class MaskRCNNConfig:
    """A whole Mask R-CNN.

    ``class_names`` are the foreground classes in the order of the network's outputs; ``category_ids`` are the ids
    that a data set gives them (1, 2, .. when left out).

    >>> config = MaskRCNNConfig(class_names=("cat", "dog"))
    >>> config.category_ids
    (1, 2)
    >>> MaskRCNNConfig.from_dict(config.to_dict()) == config
    True
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] = ()
    input: InputConfig = field(default_factory=InputConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    fpn: FPNConfig = field(default_factory=FPNConfig)
    rpn: RPNConfig = field(default_factory=RPNConfig)
    box_head: BoxHeadConfig = field(default_factory=BoxHeadConfig)
    mask_head: MaskHeadConfig = field(default_factory=MaskHeadConfig)
    # Memory layout of the kernels. Channels last takes half to two thirds of the time on a CPU; convolutions then round
    # in another order, which moves boxes by some 1e-3 px and scores by some 1e-5.
    channels_last: bool = True

    def __post_init__(self) -> None:
        names, ids = as_names(self.class_names), tuple(self.category_ids)
        ids = ids or tuple(range(1, len(names) + 1))
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "category_ids", ids)
        _require(len(names) > 0, self, "class_names must name at least one class", names)
        _require(len(set(names)) == len(names), self, "class_names must differ", names)
        _require(len(ids) == len(names), self, f"category_ids must match the {len(names)} class_names", ids)
        _require(len(set(ids)) == len(ids), self, "category_ids must differ", ids)

    @property
    def num_classes(self) -> int:
        """Foreground classes; the classifier has one output more, for the background (index 0)."""
        return len(self.class_names)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings, ready for JSON."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MaskRCNNConfig:
        """The inverse of :meth:`to_dict`; a missing field keeps its default, an unknown one is a ValueError."""
        return from_plain(cls, values)
