"""How well the anchors of a model fit the objects of a data set, and which would fit better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.doctor.images import ExaminedImage
from fastmrcnn.doctor.statistics import object_boxes
from fastmrcnn.models import MaskRCNNConfig
from fastmrcnn.models.config import AnchorConfig
from fastmrcnn.models.transform import InputTransform
from fastmrcnn.weights.anchors import changed_anchors

GOOD = 0.5  # IoU of an anchor and an object from which learning the object is easy
_MOST = 20_000  # objects that are measured: the shares are known to a third of a percent then
_FACTORS = (1.0, 0.7, 1.4, 0.5, 2.0, 0.35, 0.25)  # tried on all sizes of anchors, small changes first
_GAIN = 0.05  # of the share of objects with a good anchor: a smaller one is not worth other anchors


@dataclass(frozen=True)
class Coverage:
    """How many objects have an anchor that fits, at the network's input."""

    foreground_iou: float  # the RPN's own threshold
    matched: float  # share of objects with an anchor of at least that IoU
    good: float  # share with one of at least 0.5
    mean: float  # IoU of the best anchor


@dataclass(frozen=True)
class AnchorReport:
    """What the model's anchors cover, and, where others cover more, which.

    ``smaller`` and ``larger`` are shares of the objects whose side at the network's input is below half of the smallest
    anchor, or above twice the largest.
    """

    sizes: tuple[tuple[float, ...], ...]
    aspect_ratios: tuple[float, ...]
    objects: int  # that were measured
    coverage: Coverage
    smaller: float
    larger: float
    suggestion: AnchorConfig | None
    suggested: Coverage | None

    @property
    def options(self) -> str:
        """What makes ``fastmrcnn train`` use the suggestion; nothing where there is none."""
        if self.suggestion is None:
            return ""
        scale = self.suggestion.sizes[0][0] / self.sizes[0][0]
        words = [] if scale == 1 else [f"--anchor-scale {scale:g}"]
        if self.suggestion.aspect_ratios != self.aspect_ratios:
            words.append("--anchor-ratios " + " ".join(f"{ratio:g}" for ratio in self.suggestion.aspect_ratios))
        return " ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"options": self.options}


def report_anchors(images: Sequence[ExaminedImage], config: MaskRCNNConfig) -> AnchorReport | None:
    """Compare the objects with the anchors of ``config``; None where there are no objects."""
    boxes = _at_input([image for image in images if image.sound], config)
    if len(boxes) == 0:
        return None
    anchors, strides, foreground = config.rpn.anchors, config.feature_strides, config.rpn.foreground_iou
    coverage = _cover(boxes, anchors, strides, foreground)
    sides = np.sqrt(_areas(boxes))
    flat = [size for level in anchors.sizes for size in level]
    suggestion, suggested = _suggest(boxes, anchors, strides, foreground, coverage)
    return AnchorReport(
        sizes=anchors.sizes,
        aspect_ratios=anchors.aspect_ratios,
        objects=len(boxes),
        coverage=coverage,
        smaller=float((sides < min(flat) / 2).mean()),
        larger=float((sides > max(flat) * 2).mean()),
        suggestion=suggestion,
        suggested=suggested,
    )


def best_ious(boxes: NDArray[np.float64], config: AnchorConfig, strides: Sequence[int]) -> NDArray[np.float64]:
    """[N] the IoU of each box [N, 4] with the best of all anchors on an unbounded grid.

    Of the anchors of one shape the best is the one whose centre is nearest, so only that is computed.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2  # [N, 2]
    best = np.zeros(len(boxes))
    for sizes, stride in zip(config.sizes, strides, strict=True):
        nearest = np.rint(centres / stride).clip(0) * stride
        for size, ratio in product(sizes, config.aspect_ratios):
            half = np.array([size / np.sqrt(ratio), size * np.sqrt(ratio)]) / 2
            top_left = np.maximum(boxes[:, :2], nearest - half)
            bottom_right = np.minimum(boxes[:, 2:], nearest + half)
            shared = np.prod((bottom_right - top_left).clip(0), axis=1)
            best = np.maximum(best, shared / (_areas(boxes) + size * size - shared))
    return best


def _at_input(images: Sequence[ExaminedImage], config: MaskRCNNConfig) -> NDArray[np.float64]:
    """Boxes of the objects, resized as the model resizes the images; at most ``_MOST``, drawn evenly."""
    resize = InputTransform(config.input).eval()
    found = []
    for image in images:
        height, width = image.record.height, image.record.width
        new_height, new_width = resize.target_size(height, width)
        scale = np.array([new_width / width, new_height / height] * 2)
        found.append(object_boxes([image]) * scale)
    boxes = np.concatenate([np.zeros((0, 4)), *found])
    return boxes[np.linspace(0, len(boxes) - 1, _MOST).astype(int)] if len(boxes) > _MOST else boxes


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return areas


def _cover(boxes: NDArray[np.float64], config: AnchorConfig, strides: Sequence[int], foreground: float) -> Coverage:
    best = best_ious(boxes, config, strides)
    return Coverage(foreground, float((best >= foreground).mean()), float((best >= GOOD).mean()), float(best.mean()))


def _suggest(
    boxes: NDArray[np.float64], anchors: AnchorConfig, strides: Sequence[int], foreground: float, coverage: Coverage
) -> tuple[AnchorConfig | None, Coverage | None]:
    """The anchors, of other sizes and perhaps other ratios, that most objects have a good one among."""
    best, best_coverage = anchors, coverage
    for factor, ratios in product(_FACTORS, _ratios(boxes, anchors)):
        tried = changed_anchors(anchors, factor, ratios)
        found = _cover(boxes, tried, strides, foreground)
        if found.good > best_coverage.good + 0.01:  # the earlier one, with fewer changes, wins a draw
            best, best_coverage = tried, found
    return (best, best_coverage) if best_coverage.good >= coverage.good + _GAIN else (None, None)


def _ratios(boxes: NDArray[np.float64], anchors: AnchorConfig) -> list[tuple[float, ...]]:
    """The model's own ratios; the same about the median of the objects; and ratios that share the objects evenly."""
    own = anchors.aspect_ratios
    ratios = (boxes[:, 3] - boxes[:, 1]) / (boxes[:, 2] - boxes[:, 0])
    centre = float(np.median(ratios)) / float(np.exp(np.mean(np.log(own))))
    shares = (np.arange(len(own)) + 0.5) / len(own)
    tried = [tuple(ratio * centre for ratio in own), tuple(np.quantile(ratios, shares).tolist())]
    rounded = [tuple(float(f"{ratio:.2g}") for ratio in candidate) for candidate in tried]
    return [own, *(candidate for candidate in rounded if len(set(candidate)) == len(own))]
