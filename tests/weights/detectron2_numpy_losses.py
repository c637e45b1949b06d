"""detectron2's losses in plain numpy, float64, on top of tests/weights/detectron2_numpy.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.weights.detectron2_numpy import (
    Settings,
    box_outputs,
    cell_anchors,
    feature_maps,
    grid_anchors,
    network_input,
    pool,
    proposals,
    roi_align,
    stage,
)
from tests.weights.numpy_layers import Array, State, conv, deconv, relu

__all__ = ["first_of_each", "losses"]

Indices = NDArray[np.int64]


def first_of_each(labels: Indices, count: int, fraction: float) -> tuple[Indices, Indices]:
    """A sample that is no matter of chance: the first positives and the first negatives."""
    positive = np.flatnonzero(labels >= 1)[: int(count * fraction)]
    return positive, np.flatnonzero(labels == 0)[: count - len(positive)]


def losses(
    state: State,
    image: NDArray[np.uint8],
    boxes: Array,
    classes: Indices,
    masks: NDArray[np.bool_],
    settings: Settings,
    *,
    anchors_sampled: int,
    rois_sampled: int,
) -> dict[str, float]:
    """The five losses of one image that is not resized; boxes [M, 4], classes [M] from 0, masks [M, H, W]."""
    pixels = network_input(image, settings)
    size = (pixels.shape[1], pixels.shape[2])
    assert size == image.shape[:2]
    if settings.neck == "fpn":
        pixels = np.pad(pixels, ((0, 0), (0, -size[0] % 32), (0, -size[1] % 32)))
    maps = feature_maps(state, pixels, settings)
    found, _ = proposals(state, maps, size, settings)
    first = rpn_losses(state, maps, boxes, settings, anchors_sampled)
    rois = np.concatenate((found, boxes))  # the objects themselves join
    overlap = iou(rois, boxes)
    matched = overlap.argmax(axis=1)
    labels = np.where(overlap.max(axis=1) >= 0.5, classes[matched] + 1, 0)
    positive, negative = first_of_each(labels, rois_sampled, 0.25)
    own, taken = matched[positive], np.concatenate((positive, negative))
    probabilities, deltas = box_outputs(state, maps, rois[taken], settings)
    background = probabilities.shape[1] - 1
    wanted = np.where(labels[taken] > 0, labels[taken] - 1, background)
    rows = np.arange(len(positive))
    predicted = deltas[: len(positive)].reshape(len(positive), -1, 4)[rows, classes[own]]
    box_targets = encode(rois[positive], boxes[own], (10, 10, 5, 5))
    return first | {
        "loss_classifier": float(-np.log(probabilities[np.arange(len(taken)), wanted]).mean()),
        "loss_box_reg": float(np.abs(predicted - box_targets).sum() / len(taken)),
        "loss_mask": mask_loss(state, maps, rois[positive], masks[own], classes[own], settings),
    }


def rpn_losses(state: State, maps: list[Array], boxes: Array, settings: Settings, budget: int) -> dict[str, float]:
    """Sums over the sample, divided by its budget, which a small map does not fill."""
    anchors, logits, deltas = [], [], []
    for level, feature in enumerate(maps):
        hidden = relu(conv(state, "proposal_generator.rpn_head.conv", feature))
        for name, kept, width in (("objectness_logits", logits, 1), ("anchor_deltas", deltas, 4)):
            out = conv(state, f"proposal_generator.rpn_head.{name}", hidden)[0]
            kept.append(out.transpose(1, 2, 0).reshape(-1, width))
        fpn = settings.neck == "fpn"
        cells = cell_anchors(settings.anchor_sizes[level : level + 1] if fpn else settings.anchor_sizes)
        anchors.append(grid_anchors(*feature.shape[2:], 4 * 2**level if fpn else 16, cells))
    anchor, logit, delta = np.concatenate(anchors), np.concatenate(logits)[:, 0], np.concatenate(deltas)
    overlap = iou(anchor, boxes)
    best = overlap.max(axis=1)
    labels = np.where(best >= 0.7, 1, np.where(best < 0.3, 0, -1))
    labels[(overlap == overlap.max(axis=0)).any(axis=1)] = 1  # every object has its best anchors
    positive, negative = first_of_each(labels, budget, 0.5)
    taken = np.concatenate((positive, negative))
    wanted = np.where(labels[taken] == 1, 1.0, 0.0)
    targets = encode(anchor[positive], boxes[overlap[positive].argmax(axis=1)], (1, 1, 1, 1))
    return {
        "loss_objectness": float(cross_entropy(logit[taken], wanted).sum() / budget),
        "loss_rpn_box_reg": float(np.abs(delta[positive] - targets).sum() / budget),
    }


def mask_loss(
    state: State, maps: list[Array], rois: Array, masks: NDArray[np.bool_], classes: Indices, settings: Settings
) -> float:
    x = pool(maps, rois, 14, settings)
    if settings.neck == "c4":
        x = stage(state, "roi_heads.res5", x, settings, 2)
    for index in range(1, 5 if settings.neck != "c4" else 1):
        x = relu(conv(state, f"roi_heads.mask_head.mask_fcn{index}", x))
    x = relu(deconv(state, "roi_heads.mask_head.deconv", x))
    logits = conv(state, "roi_heads.mask_head.predictor", x)[np.arange(len(rois)), classes]
    crops = [
        roi_align(mask[None].astype(float), roi, 1, logits.shape[-1])[0] for mask, roi in zip(masks, rois, strict=True)
    ]
    return float(cross_entropy(logits, np.array(crops) >= 0.5).mean())


def encode(boxes: Array, targets: Array, weights: tuple[float, ...]) -> Array:
    size, wanted = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    shift = (targets[:, :2] + wanted / 2 - boxes[:, :2] - size / 2) / size
    return np.concatenate((shift * weights[:2], np.log(wanted / size) * weights[2:]), axis=1)


def iou(boxes: Array, others: Array) -> Array:
    """[N, M]."""
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    areas = [(group[:, 2:] - group[:, :2]).prod(axis=1) for group in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def cross_entropy(logits: Array, wanted: Array) -> Array:
    return np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0) - logits * wanted
