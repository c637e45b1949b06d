"""The rules of Matterport's Mask R-CNN in plain numpy, one image at a time: the reference of its profile.

Written from a description of the rules, in the system's own coordinates: boxes are y1, x1, y2, x2; "normalised" ones
reach from 0, the first pixel of the frame, to 1, its last. Everything is float64.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
EXCLUSIVE = np.array([0.0, 0.0, 1.0, 1.0])  # pixel boxes end behind their last pixel, normalised ones at it


def normalise(boxes: Array, size: tuple[int, int]) -> Array:
    height, width = size
    return (boxes - EXCLUSIVE) / np.array([height - 1, width - 1, height - 1, width - 1])


def denormalise(boxes: Array, size: tuple[int, int]) -> NDArray[np.int64]:
    height, width = size
    scale = np.array([height - 1, width - 1, height - 1, width - 1])
    return np.around(boxes * scale + EXCLUSIVE).astype(np.int64)


def resized_size(height: int, width: int, least: int, most: int) -> tuple[int, int]:
    """Images are enlarged until the shorter side is ``least``, never shrunk for it; the longer side is at most
    ``most``."""
    scale = max(1.0, least / min(height, width))
    if round(max(height, width) * scale) > most:
        scale = most / max(height, width)
    return round(height * scale), round(width * scale)


def resize(image: NDArray, size: tuple[int, int]) -> Array:
    """Bilinear without a low-pass; beyond the image lies zero; no value leaves the image's own range."""
    height, width = image.shape[:2]

    def pixel(row: int, column: int) -> Array:
        inside = 0 <= row < height and 0 <= column < width
        return image[row, column].astype(np.float64) if inside else np.zeros(image.shape[2:])

    resized = np.zeros((*size, *image.shape[2:]))
    for row in range(size[0]):
        y = (row + 0.5) * height / size[0] - 0.5
        top = math.floor(y)
        for column in range(size[1]):
            x = (column + 0.5) * width / size[1] - 0.5
            left = math.floor(x)
            upper = pixel(top, left) * (left + 1 - x) + pixel(top, left + 1) * (x - left)
            lower = pixel(top + 1, left) * (left + 1 - x) + pixel(top + 1, left + 1) * (x - left)
            resized[row, column] = upper * (top + 1 - y) + lower * (y - top)
    return np.clip(resized, image.min(), image.max())


def mould(image: NDArray[np.uint8], least: int, most: int, mean: Array) -> tuple[Array, NDArray[np.int64]]:
    """The network's input [most, most, 3] and the window y1, x1, y2, x2 of the image in it, px."""
    size = resized_size(*image.shape[:2], least, most)
    if size != image.shape[:2]:
        image = resize(image, size).astype(np.uint8)  # cuts the fraction off
    top, left = (most - size[0]) // 2, (most - size[1]) // 2
    frame = np.zeros((most, most, 3))
    frame[top : top + size[0], left : left + size[1]] = image
    return frame - mean, np.array([top, left, top + size[0], left + size[1]])


def anchors_of_level(scale: float, ratios: list[float], cells: tuple[int, int], stride: int) -> Array:
    """Pixel boxes around multiples of the stride; ``ratios`` are width / height."""
    boxes = []
    for row in range(cells[0]):
        for column in range(cells[1]):
            for ratio in ratios:
                half = 0.5 * np.array([scale / math.sqrt(ratio), scale * math.sqrt(ratio)])
                centre = np.array([row * stride, column * stride])
                boxes.append(np.concatenate([centre - half, centre + half]))
    return np.array(boxes)


def refine(box: Array, deltas: Array) -> Array:
    """A box moved by dy, dx and resized by dh, dw, which are not limited."""
    size = box[2:] - box[:2]
    centre = box[:2] + 0.5 * size + deltas[:2] * size
    size = size * np.exp(deltas[2:])
    return np.concatenate([centre - 0.5 * size, centre + 0.5 * size])


def clip(box: Array, window: Array) -> Array:
    return np.minimum(np.maximum(box, np.tile(window[:2], 2)), np.tile(window[2:], 2))


def overlap(a: Array, b: Array) -> float:
    """IoU; zero where one of the boxes has no area."""
    area_a, area_b = (max(box[2] - box[0], 0) * max(box[3] - box[1], 0) for box in (a, b))
    if area_a <= 0 or area_b <= 0:
        return 0.0
    height = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    width = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return float(height * width / (area_a + area_b - height * width))


def nms(boxes: Array, scores: Array, threshold: float, most: int) -> list[int]:
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if len(kept) < most and all(overlap(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(int(index))
    return kept


def propose(
    scores: Array, deltas: Array, anchors: Array, *, before: int, after: int, threshold: float
) -> tuple[Array, Array]:
    """Normalised proposals and their scores, of all levels together; ``anchors`` are normalised too."""
    best = np.argsort(-scores, kind="stable")[:before]
    frame = np.array([0.0, 0.0, 1.0, 1.0])
    boxes = np.array([clip(refine(anchors[i], deltas[i] * [0.1, 0.1, 0.2, 0.2]), frame) for i in best])
    kept = nms(boxes, scores[best], threshold, after)
    return boxes[kept], scores[best][kept]


def level_of(box: Array, size: tuple[int, int]) -> int:
    """2..5, of a normalised box in a frame of ``size``."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    if area <= 0:
        return 2
    level = 4 + round(math.log2(math.sqrt(area) / (224 / math.sqrt(size[0] * size[1]))))
    return min(max(level, 2), 5)


def crop_and_resize(feature: Array, box: Array, cells: int) -> Array:
    """[H, W, C] and a normalised box -> [cells, cells, C]: one bilinear sample each, the outer ones on the box's
    corners, zero beyond the map."""
    height, width, channels = feature.shape
    crop = np.zeros((cells, cells, channels))

    def position(first: float, last: float, index: int, size: int) -> float:
        # Rounded to 1e-9 cells, so that the frame's own corner does not fall beyond the map by a hair.
        return round((first + (last - first) * index / (cells - 1)) * (size - 1), 9)

    for i in range(cells):
        y = position(box[0], box[2], i, height)
        for j in range(cells):
            x = position(box[1], box[3], j, width)
            if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                top, left = math.floor(y), math.floor(x)
                bottom, right = math.ceil(y), math.ceil(x)
                upper = feature[top, left] * (1 - (x - left)) + feature[top, right] * (x - left)
                lower = feature[bottom, left] * (1 - (x - left)) + feature[bottom, right] * (x - left)
                crop[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return crop


def select(
    rois: Array, probabilities: Array, deltas: Array, window: Array, *, confidence: float, threshold: float, most: int
) -> list[tuple[Array, int, float]]:
    """(normalised box, class, score), best first. ``probabilities`` [N, C + 1], ``deltas`` [N, C + 1, 4]; the window is
    normalised. A region can only be of its likeliest class."""
    classes = probabilities.argmax(axis=1)
    scores = probabilities.max(axis=1)
    std = [0.1, 0.1, 0.2, 0.2]
    boxes = np.array([clip(refine(r, d[c] * std), window) for r, d, c in zip(rois, deltas, classes, strict=True)])
    candidates = [i for i in range(len(rois)) if classes[i] > 0 and scores[i] >= confidence]
    kept = []
    for label in sorted({classes[i] for i in candidates}):
        own = [i for i in candidates if classes[i] == label]
        kept += [own[k] for k in nms(boxes[own], scores[own], threshold, most)]
    kept = sorted(sorted(kept), key=lambda i: -scores[i])[:most]
    return [(boxes[i], int(classes[i]), float(scores[i])) for i in kept]


def unmould_box(
    box: Array, window: NDArray[np.int64], frame: tuple[int, int], original: tuple[int, int]
) -> NDArray[np.int64]:
    """A normalised box of the frame in whole pixels of the original image."""
    inner = normalise(window.astype(np.float64), frame)
    span = np.tile(inner[2:] - inner[:2], 2)
    return denormalise((box - np.tile(inner[:2], 2)) / span, original)


def unmould_mask(mask: Array, box: NDArray[np.int64], original: tuple[int, int]) -> NDArray[np.bool_]:
    """A small mask in the image: stretched over the box of whole pixels, set from a half on."""
    y1, x1, y2, x2 = box
    full = np.zeros(original, dtype=np.bool_)
    full[y1:y2, x1:x2] = resize(mask, (y2 - y1, x2 - x1)) >= 0.5
    return full
