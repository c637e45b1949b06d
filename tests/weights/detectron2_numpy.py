"""detectron2's inference in plain numpy, float64, from its own names of tensors: a reference that shares nothing with
the package. One image at a time, loops allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.weights.numpy_layers import (
    Array,
    State,
    bilinear_rows,
    conv,
    cubic_rows,
    deconv,
    linear,
    max_pool,
    relu,
    sigmoid,
)


@dataclass
class Settings:
    """What detectron2 has in its configuration and not in its weights."""

    neck: str = "fpn"
    stride_in_1x1: bool = True
    pixel_std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    min_size: int = 800
    max_size: int = 1333
    pre_nms: int = 1000
    post_nms: int = 1000
    score_threshold: float = 0.05
    detections: int = 100
    anchor_sizes: tuple[float, ...] = field(default=(32.0, 64.0, 128.0, 256.0, 512.0))


@dataclass
class Found:
    boxes: Array  # [D, 4], px of the original image
    scores: Array  # [D]
    classes: NDArray[np.int64]  # [D], from 0
    masks: NDArray[np.bool_]  # [D, H, W], of the original image; [D, 0, 0] without a mask head
    keypoints: Array  # [D, 17, 3]: x, y, score, px of the original image; [D, 0, 3] without a keypoint head


# ------------------------------------------------------------------------------------------------------------ maps


def stage(state: State, prefix: str, x: Array, settings: Settings, stride: int, dilation: int = 1) -> Array:
    block = 0
    while f"{prefix}.{block}.conv1.weight" in state:
        name, own = f"{prefix}.{block}", stride if block == 0 else 1
        in_1x1, in_3x3 = (own, 1) if settings.stride_in_1x1 else (1, own)
        out = relu(conv(state, f"{name}.conv1", x, in_1x1))
        out = relu(conv(state, f"{name}.conv2", out, in_3x3, dilation))
        out = conv(state, f"{name}.conv3", out)
        shortcut = conv(state, f"{name}.shortcut", x, own) if block == 0 else x
        x, block = relu(out + shortcut), block + 1
    return x


def feature_maps(state: State, image: Array, settings: Settings) -> list[Array]:
    """What proposals and heads read: P2..P6, or one map of stride 16."""
    bottom_up = "backbone.bottom_up." if settings.neck == "fpn" else "backbone."
    x = max_pool(relu(conv(state, f"{bottom_up}stem.conv1", image[None], 2)))
    stages = [stage(state, f"{bottom_up}res2", x, settings, 1)]
    stages.append(stage(state, f"{bottom_up}res3", stages[-1], settings, 2))
    stages.append(stage(state, f"{bottom_up}res4", stages[-1], settings, 2))
    if settings.neck == "c4":
        return stages[-1:]
    if settings.neck == "dc5":
        return [stage(state, f"{bottom_up}res5", stages[-1], settings, 1, dilation=2)]
    stages.append(stage(state, f"{bottom_up}res5", stages[-1], settings, 2))
    merged, pyramid = 0.0, []
    for index in (5, 4, 3, 2):
        merged = conv(state, f"backbone.fpn_lateral{index}", stages[index - 2]) + merged
        pyramid.insert(0, conv(state, f"backbone.fpn_output{index}", merged))
        merged = merged.repeat(2, axis=2).repeat(2, axis=3)
    return [*pyramid, pyramid[-1][:, :, ::2, ::2]]


# ------------------------------------------------------------------------------------------------------------ boxes


def cell_anchors(sizes: tuple[float, ...]) -> Array:
    """Around (0, 0), not rounded; the ratio is height / width."""
    anchors = []
    for size in sizes:
        for ratio in (0.5, 1.0, 2.0):
            width = math.sqrt(size * size / ratio)
            height = ratio * width
            anchors.append([-width / 2, -height / 2, width / 2, height / 2])
    return np.array(anchors, np.float32).astype(np.float64)  # detectron2 keeps them in float32


def grid_anchors(height: int, width: int, stride: int, cells: Array) -> Array:
    """[H * W * A, 4]: the first cell's anchors lie around (0, 0)."""
    y, x = np.mgrid[:height, :width] * stride
    shifts = np.stack((x, y, x, y), axis=-1).reshape(-1, 1, 4)
    return (shifts + cells[None]).reshape(-1, 4)


def apply_deltas(deltas: Array, boxes: Array, weights: tuple[float, ...]) -> Array:
    """[N, 4] and [N, 4] -> [N, 4]."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    centre = centre + deltas[:, :2] / weights[:2] * size
    size = size * np.exp(np.minimum(deltas[:, 2:] / weights[2:], math.log(1000 / 16)))
    return np.concatenate((centre - size / 2, centre + size / 2), axis=1)


def clip(boxes: Array, height: float, width: float) -> Array:
    return np.clip(boxes, 0, [width, height, width, height])


def nonempty(boxes: Array) -> NDArray[np.bool_]:
    return (boxes[:, 2:] > boxes[:, :2]).all(axis=1)


def nms(boxes: Array, scores: Array, groups: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    """Kept indices by descending score; only boxes of one group suppress each other, above the threshold."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        better = [k for k in kept if groups[k] == groups[i]]
        sides = np.minimum(boxes[i, 2:], boxes[better, 2:]) - np.maximum(boxes[i, :2], boxes[better, :2])
        shared = np.maximum(sides, 0).prod(axis=1)
        if not (shared > threshold * (area[i] + area[better] - shared)).any():
            kept.append(int(i))
    return np.array(kept, np.int64)


def proposals(state: State, maps: list[Array], size: tuple[int, int], settings: Settings) -> tuple[Array, Array]:
    """(boxes [P, 4], logits [P]), px of the network's input."""
    boxes, scores, levels = [], [], []
    head = "proposal_generator.rpn_head."
    for level, feature in enumerate(maps):
        hidden = relu(conv(state, f"{head}conv", feature))
        logits = conv(state, f"{head}objectness_logits", hidden)[0].transpose(1, 2, 0).ravel()
        deltas = conv(state, f"{head}anchor_deltas", hidden)[0].transpose(1, 2, 0).reshape(-1, 4)
        sizes = settings.anchor_sizes[level : level + 1] if settings.neck == "fpn" else settings.anchor_sizes
        stride = 4 * 2**level if settings.neck == "fpn" else 16
        anchors = grid_anchors(*feature.shape[2:], stride, cell_anchors(sizes))
        best = np.argsort(-logits, kind="stable")[: settings.pre_nms]
        boxes.append(apply_deltas(deltas[best], anchors[best], (1, 1, 1, 1)))
        scores.append(logits[best])
        levels.append(np.full(len(best), level))
    box, score, level_of = clip(np.concatenate(boxes), *size), np.concatenate(scores), np.concatenate(levels)
    real = nonempty(box)
    box, score, level_of = box[real], score[real], level_of[real]
    kept = nms(box, score, level_of, 0.7)[: settings.post_nms]
    return box[kept], score[kept]


# ---------------------------------------------------------------------------------------------------------- regions


def roi_align(feature: Array, box: Array, stride: int, cells: int) -> Array:
    """[C, H, W] -> [C, cells, cells]: shifted by half a pixel, as many samples as the box covers feature cells."""
    rows = []
    for axis in (1, 0):  # y, then x
        start, end = box[axis] / stride - 0.5, box[axis + 2] / stride - 0.5
        step = (end - start) / cells
        samples = max(math.ceil(step), 0)
        positions = [
            start + (cell + (sample + 0.5) / samples) * step for cell in range(cells) for sample in range(samples)
        ]
        taken = bilinear_rows(np.array(positions), feature.shape[2 - axis])
        rows.append(taken.reshape(cells, samples, feature.shape[2 - axis]).sum(axis=1) / max(samples, 1))
    return np.einsum("yh,chw,xw->cyx", rows[0], feature, rows[1], optimize=True)


def pool(maps: list[Array], boxes: Array, cells: int, settings: Settings) -> Array:
    """[K, C, cells, cells]: from the level that fits the size."""
    pooled = [np.zeros((0, maps[0].shape[1], cells, cells))]
    for box in boxes:
        level, stride = 0, 16
        if settings.neck == "fpn":
            side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            level = int(min(max(math.floor(4 + math.log2(side / 224 + 1e-8)), 2), 5)) - 2
            stride = 4 * 2**level
        pooled.append(roi_align(maps[level][0], box, stride, cells)[None])
    return np.concatenate(pooled)


def box_outputs(state: State, maps: list[Array], boxes: Array, settings: Settings) -> tuple[Array, Array]:
    """(class probabilities [K, C + 1], the background last; deltas [K, C * 4])."""
    if settings.neck == "c4":
        x = stage(state, "roi_heads.res5", pool(maps, boxes, 14, settings), settings, 2).mean(axis=(2, 3))
    else:
        x = pool(maps, boxes, 7, settings)
        index = 1
        while f"roi_heads.box_head.conv{index}.weight" in state:
            x, index = relu(conv(state, f"roi_heads.box_head.conv{index}", x)), index + 1
        x, index = x.reshape(len(x), -1), 1
        while f"roi_heads.box_head.fc{index}.weight" in state:
            x, index = relu(linear(state, f"roi_heads.box_head.fc{index}", x)), index + 1
    logits = linear(state, "roi_heads.box_predictor.cls_score", x)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    deltas = linear(state, "roi_heads.box_predictor.bbox_pred", x)
    return exponentials / exponentials.sum(axis=1, keepdims=True), deltas


def masks_of(state: State, maps: list[Array], boxes: Array, classes: NDArray[np.int64], settings: Settings) -> Array:
    """[D, M, M] probabilities."""
    x = pool(maps, boxes, 14, settings)
    if settings.neck == "c4":
        x = stage(state, "roi_heads.res5", x, settings, 2)
    index = 1
    while f"roi_heads.mask_head.mask_fcn{index}.weight" in state:
        x, index = relu(conv(state, f"roi_heads.mask_head.mask_fcn{index}", x)), index + 1
    x = relu(deconv(state, "roi_heads.mask_head.deconv", x))
    logits = conv(state, "roi_heads.mask_head.predictor", x)
    return sigmoid(logits[np.arange(len(boxes)), classes if logits.shape[1] > 1 else 0])


def keypoints_of(state: State, maps: list[Array], boxes: Array, settings: Settings) -> Array:
    """[D, 17, 3]: x, y, score, px of the boxes."""
    x = pool(maps, boxes, 14, settings)
    for index in range(1, 9):
        x = relu(conv(state, f"roi_heads.keypoint_head.conv_fcn{index}", x))
    x = deconv(state, "roi_heads.keypoint_head.score_lowres", x)
    twice = bilinear_rows((np.arange(2 * x.shape[2]) + 0.5) / 2 - 0.5, x.shape[2])
    heatmaps = np.einsum("yh,nkhw,xw->nkyx", twice, x, twice, optimize=True)
    found = np.zeros((len(boxes), heatmaps.shape[1], 3))
    for row, maps_of_box, box in zip(found, heatmaps, boxes, strict=True):
        sides = np.maximum(box[2:] - box[:2], 1)  # width, height
        pixels = np.ceil(sides).astype(int)
        across, down = (cubic_rows(count, maps_of_box.shape[1]) for count in pixels)
        for point, heatmap in zip(row, maps_of_box, strict=True):
            large = down @ heatmap @ across.T
            y, x_ = np.unravel_index(large.argmax(), large.shape)
            point[:2] = box[:2] + (np.array([x_, y]) + 0.5) * sides / pixels
            point[2] = 1 / np.exp(heatmap - large.max()).sum()  # of the large map, as a share of the small one
    return found


def paste(mask: Array, box: Array, height: int, width: int) -> NDArray[np.bool_]:
    """Sampled at the centres of pixels; half a cell around the mask fades to zero."""
    rows = []
    for axis, size in ((1, height), (0, width)):
        cells = len(mask)
        positions = (np.arange(size) + 0.5 - box[axis]) / (box[axis + 2] - box[axis]) * cells - 0.5
        taken = np.zeros((size, cells))
        for row, position in zip(taken, positions, strict=True):
            low = math.floor(position)
            for cell, share in ((low, 1 - (position - low)), (low + 1, position - low)):
                if 0 <= cell < cells:
                    row[cell] += share
        rows.append(taken)
    return rows[0] @ mask @ rows[1].T >= 0.5


# ------------------------------------------------------------------------------------------------------------ model


def network_input(image: NDArray[np.uint8], settings: Settings) -> Array:
    """[H, W, 3] RGB -> [3, h, w]: the shorter edge to min_size unless the longer one exceeds max_size then, BGR."""
    height, width = image.shape[:2]
    scale = settings.min_size / min(height, width)
    size = (settings.min_size, scale * width) if height < width else (scale * height, settings.min_size)
    if max(size) > settings.max_size:
        scale = settings.max_size / max(size)
        size = (size[0] * scale, size[1] * scale)
    new_height, new_width = (int(side + 0.5) for side in size)
    resized = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR))
    mean = np.array([103.53, 116.28, 123.675], np.float32).astype(np.float64)
    std = np.array(settings.pixel_std, np.float32).astype(np.float64)
    return ((resized[:, :, ::-1] - mean) / std).transpose(2, 0, 1)


def detect(state: State, image: NDArray[np.uint8], settings: Settings, *, pixels: Array | None = None) -> Found:
    """What the model finds in ``image``, [H, W, 3]; ``pixels`` in place of detectron2's own resizing of it."""
    pixels = network_input(image, settings) if pixels is None else pixels
    size = (pixels.shape[1], pixels.shape[2])
    if settings.neck == "fpn":
        pixels = np.pad(pixels, ((0, 0), (0, -size[0] % 32), (0, -size[1] % 32)))
    maps = feature_maps(state, pixels, settings)
    boxes, _ = proposals(state, maps, size, settings)
    probabilities, deltas = box_outputs(state, maps, boxes, settings)
    rows, classes = np.nonzero(probabilities[:, :-1] > settings.score_threshold)
    scores = probabilities[rows, classes]
    agnostic = deltas.shape[1] == 4
    own = deltas.reshape(len(boxes), -1, 4)[rows, 0 if agnostic else classes]
    found = clip(apply_deltas(own, boxes[rows], (10, 10, 5, 5)), *size)
    kept = nms(found, scores, classes, 0.5)[: settings.detections]
    found, scores, classes = found[kept], scores[kept], classes[kept]
    masks = np.zeros((len(found), 0, 0))
    if "roi_heads.mask_head.predictor.weight" in state:
        masks = masks_of(state, maps, found, classes, settings)
    keypoints = np.zeros((len(found), 0, 3))
    if "roi_heads.keypoint_head.score_lowres.weight" in state:
        keypoints = keypoints_of(state, maps, found, settings)
    scale_y, scale_x = image.shape[0] / size[0], image.shape[1] / size[1]
    original = clip(found * [scale_x, scale_y, scale_x, scale_y], *image.shape[:2])
    real = nonempty(original)
    original, scores, classes, masks = original[real], scores[real], classes[real], masks[real]
    keypoints = keypoints[real] * [scale_x, scale_y, 1]
    pasted = np.zeros((len(original), 0, 0), bool)
    if masks.shape[1] and len(original):
        pasted = np.stack([paste(mask, box, *image.shape[:2]) for mask, box in zip(masks, original, strict=True)])
    return Found(original, scores, classes, pasted, keypoints)
