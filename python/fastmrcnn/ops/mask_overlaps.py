"""What the masks of an image share, computed on their run lengths for chosen pairs alone."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastmrcnn.ops._runs import bounded_slices, intersections, ranges, split_columns
from fastmrcnn.ops.instance_masks import InstanceMasks

__all__ = ["areas_within", "first_of_equals", "mask_intersections", "mask_nms", "overlapping_pairs"]


def overlapping_pairs(boxes: Tensor) -> Tensor:
    """Which boxes overlap, found among neighbours alone: the time follows the boxes and their overlaps.

    Args:
        boxes: `[N, 4]` x1, y1, x2, y2 in pixels; a box without area, or with a number that is not finite, overlaps
            nothing.

    Returns:
        `[P, 2]` int64, first index below second, ordered; on the CPU.

    Example:
        >>> overlapping_pairs(torch.tensor([[0.0, 0, 4, 4], [8, 8, 9, 9], [3, 3, 6, 6]]))
        tensor([[0, 2]])
    """
    corners = boxes.detach().cpu().double().numpy().reshape(-1, 4)
    usable = np.flatnonzero(np.isfinite(corners).all(axis=1) & (corners[:, 2:] > corners[:, :2]).all(axis=1))
    corners = corners[usable]
    if usable.size == 0:
        return torch.empty((0, 2), dtype=torch.int64, device="cpu")
    # Squares as large as the mean box: on average each box lies in a few of them.
    side = float(np.sqrt(np.prod(corners[:, 2:] - corners[:, :2], axis=1).mean()))
    owner, cell = _cells(np.floor(corners / side).astype(np.int64))
    order = np.lexsort((owner, cell))
    owner, cell = owner[order], cell[order]
    following = np.searchsorted(cell, cell, "right") - np.arange(cell.size) - 1  # entries behind it in its square
    first = np.repeat(owner, following)
    second = owner[ranges(np.arange(1, cell.size + 1), following)]
    one, other = corners[first], corners[second]
    meet = (one[:, :2] < other[:, 2:]).all(axis=1) & (other[:, :2] < one[:, 2:]).all(axis=1)
    pairs = np.unique(usable[first[meet]] * len(boxes) + usable[second[meet]])  # two may meet in several squares
    return torch.from_numpy(np.stack(np.divmod(pairs, len(boxes)), axis=1))


def _cells(corners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every square of a grid that a box touches, as the box and a number of the square."""
    corners = corners - corners[:, :2].min(axis=0, initial=0)[[0, 1, 0, 1]]
    width, height = (corners[:, axis + 2] - corners[:, axis] + 1 for axis in (0, 1))
    owner = np.repeat(np.arange(len(corners)), width * height)
    inner = ranges(np.zeros(len(corners), dtype=np.int64), width * height)
    row, column = np.divmod(inner, width[owner])
    columns = int(corners[:, 2].max()) + 1
    return owner, (corners[owner, 1] + row) * columns + corners[owner, 0] + column


def mask_intersections(masks: InstanceMasks, pairs: Tensor) -> Tensor:
    """Pixels that the two masks of each pair share, `[P]` int64, on the CPU.

    Args:
        masks: of G objects.
        pairs: `[P, 2]` int64, indices of objects.

    Example:
        >>> masks = InstanceMasks.from_coco([[[0, 0, 2, 0, 2, 4, 0, 4]], [[1, 0, 4, 0, 4, 4, 1, 4]]], 4, 4)
        >>> mask_intersections(masks, torch.tensor([[0, 1], [1, 1]]))
        tensor([ 4, 12])
    """
    masks = masks.to_runs().to("cpu")
    runs, offsets = masks.transitions.numpy(), masks.object_transitions.numpy()
    first, second = pairs.cpu().numpy().reshape(-1, 2).T
    counts = np.diff(offsets)
    parts = bounded_slices(np.minimum(counts[first], counts[second]))
    shared = [intersections(runs, offsets, first[part], second[part], masks.height * masks.width) for part in parts]
    return torch.from_numpy(np.concatenate([np.empty(0, dtype=np.int64), *shared]))


def mask_nms(masks: InstanceMasks, scores: Tensor, iou_threshold: float, idxs: Tensor | None = None) -> Tensor:
    """Keeps the masks that overlap no kept mask of higher score by more than a threshold: `nms` on pixels.

    Args:
        masks: of G objects.
        scores: `[G]` floating point; of equal scores the lower index comes first.
        iou_threshold: a mask is dropped when its IoU with a kept mask is strictly greater.
        idxs: `[G]` integers, the class of each: masks of different ones never suppress each other.

    Returns:
        `[kept]` int64, in descending order of score, on the CPU. An empty mask overlaps nothing.

    Raises:
        ValueError: there is not one score, or class, for each mask.

    Example:
        >>> masks = InstanceMasks.from_coco([[[0, 0, 4, 0, 4, 3, 0, 3]], [[0, 0, 4, 0, 4, 4, 0, 4]]], 4, 4)
        >>> mask_nms(masks, torch.tensor([0.8, 0.9]), 0.5)
        tensor([1])
    """
    for name, values in (("scores", scores), ("idxs", idxs)):
        if values is not None and values.shape != (len(masks),):
            raise ValueError(f"mask_nms: {name} must be [{len(masks)}]; got {list(values.shape)}")
    order = scores.detach().cpu().argsort(descending=True, stable=True)
    ranked = masks.to_runs().to("cpu")[order]
    pairs = overlapping_pairs(ranked.boxes())
    if idxs is not None:
        classes = idxs.cpu()[order]
        pairs = pairs[classes[pairs[:, 0]] == classes[pairs[:, 1]]]
    shared = mask_intersections(ranked, pairs)
    union = ranked.areas().long()[pairs].sum(dim=1) - shared
    return order[first_of_equals(len(masks), pairs[shared.double() > iou_threshold * union.double()])]


def first_of_equals(count: int, pairs: Tensor) -> Tensor:
    """`[count]` bool: of indices that pairs `[P, 2]`, ordered, say are the same, those that no kept one precedes."""
    kept = [True] * count
    for first, second in pairs.tolist():
        if kept[first]:
            kept[second] = False
    return torch.tensor(kept, dtype=torch.bool, device="cpu")


def areas_within(masks: InstanceMasks, chosen: Tensor, rectangles: Tensor) -> Tensor:
    """Pixels that a mask has within a rectangle, for each of K such questions: `[K]` int64, on the CPU.

    Args:
        masks: of G objects.
        chosen: `[K]` int64, indices of objects.
        rectangles: `[K, 4]` int64, x1, y1, x2, y2 in pixels, the last two exclusive.

    Example:
        >>> masks = InstanceMasks.from_coco([[[0, 0, 4, 0, 4, 4, 0, 4]]], 4, 4)
        >>> areas_within(masks, torch.tensor([0]), torch.tensor([[1, 0, 3, 9]]))
        tensor([8])
    """
    objects, place = chosen.cpu().unique(return_inverse=True)
    masks = masks.to_runs().to("cpu")[objects]
    runs = split_columns(masks.transitions.numpy(), masks.object_transitions.numpy(), masks.height, masks.width)
    left, top, right, bottom = rectangles.cpu().numpy().reshape(-1, 4).T
    base = place.numpy() * masks.width
    begin, end = (np.searchsorted(runs.column, base + np.clip(edge, 0, masks.width)) for edge in (left, right))
    areas = [np.empty(0, dtype=np.int64)]
    for part in bounded_slices(end - begin):
        lengths = np.maximum(end[part] - begin[part], 0)
        taken = ranges(begin[part], lengths)
        low, high = np.repeat(top[part], lengths), np.repeat(bottom[part], lengths)
        rows = np.minimum(runs.end[taken], high) - np.maximum(runs.begin[taken], low)
        total = np.concatenate([[0], np.cumsum(np.maximum(rows, 0))])
        last = np.cumsum(lengths)
        areas.append(total[last] - total[last - lengths])
    return torch.from_numpy(np.concatenate(areas))
