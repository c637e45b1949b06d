"""Intersection over union of every pair of boxes, and its generalised, distance and complete variants.

Plain torch code, differentiable; names, signatures and results are torchvision's. Half precision is computed in float32
throughout, from the subtraction of coordinates on (torchvision subtracts in half precision first).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastmrcnn.ops.boxes import box_area, box_convert, check_boxes, check_format, upcast

__all__ = ["box_iou", "complete_box_iou", "distance_box_iou", "generalized_box_iou"]


def _check_sets(op: str, boxes1: Tensor, boxes2: Tensor) -> None:
    for argument, boxes in (("boxes1", boxes1), ("boxes2", boxes2)):
        check_boxes(op, argument, boxes)
        if boxes.dim() < 2:
            raise ValueError(f"{op}: {argument} must be [..., N, 4]; got {list(boxes.shape)}")


def _product(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]


def _corners(boxes: Tensor, fmt: str) -> Tensor:
    boxes = upcast(boxes)
    return boxes if fmt == "xyxy" else box_convert(boxes, fmt, "xyxy")


def _area_of_overlap_and_union(boxes1: Tensor, boxes2: Tensor, fmt: str) -> tuple[Tensor, Tensor]:
    corners1, corners2 = _corners(boxes1, fmt), _corners(boxes2, fmt)
    first, second = corners1[..., :, None, :], corners2[..., None, :, :]  # [..., N, 1, 4] and [..., 1, M, 4]
    upper_left = torch.maximum(first[..., :2], second[..., :2])  # [..., N, M, 2]
    lower_right = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = _product((lower_right - upper_left).clamp(min=0))  # [..., N, M]
    return overlap, box_area(boxes1, fmt)[..., :, None] + box_area(boxes2, fmt)[..., None, :] - overlap


def _enclosing_sides(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Width and height of the smallest box around each pair, `[..., N, M, 2]`."""
    first, second = upcast(boxes1)[..., :, None, :], upcast(boxes2)[..., None, :, :]
    upper_left = torch.minimum(first[..., :2], second[..., :2])
    lower_right = torch.maximum(first[..., 2:], second[..., 2:])
    return (lower_right - upper_left).clamp(min=0)


def _distance_penalty(boxes1: Tensor, boxes2: Tensor, eps: float) -> Tensor:
    """Squared distance of the centres of each pair over the squared diagonal of the box around it, `[..., N, M]`."""
    squared_diagonal = (_enclosing_sides(boxes1, boxes2) ** 2).sum(-1) + eps
    centres1, centres2 = ((upcast(boxes)[..., :2] + upcast(boxes)[..., 2:]) / 2 for boxes in (boxes1, boxes2))
    squared_distance = ((centres1[..., :, None, :] - centres2[..., None, :, :]) ** 2).sum(-1)
    return squared_distance / squared_diagonal


def box_iou(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> Tensor:
    """Intersection over union of every pair.

    Args:
        boxes1: `[..., N, 4]`, floating point or integer.
        boxes2: `[..., M, 4]`, the same leading dimensions.
        fmt: "xyxy", "xywh" or "cxcywh" (see `box_convert`).

    Returns:
        `[..., N, M]` in [0, 1]; NaN for two boxes of zero area. Differentiable.

    Raises:
        ValueError: a shape is not as stated, or an unknown format.

    Example:
        >>> box_iou(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 0, 10, 5], [20, 20, 30, 30]]))
        tensor([[0.5000, 0.0000]])
    """
    _check_sets("box_iou", boxes1, boxes2)
    check_format("box_iou", "fmt", fmt)
    overlap, union = _area_of_overlap_and_union(boxes1, boxes2, fmt)
    return overlap / union


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Generalised IoU of every pair: IoU less the share of the enclosing box that neither covers.

    Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.

    Args:
        boxes1: `[..., N, 4]`, corners x1, y1, x2, y2.
        boxes2: `[..., M, 4]`, the same leading dimensions.

    Returns:
        `[..., N, M]` in (-1, 1]. Differentiable.

    Raises:
        ValueError: a shape is not as stated.

    Example:
        >>> generalized_box_iou(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[10.0, 0, 20, 10], [30, 0, 40, 10]]))
        tensor([[ 0.0000, -0.5000]])
    """
    _check_sets("generalized_box_iou", boxes1, boxes2)
    overlap, union = _area_of_overlap_and_union(boxes1, boxes2, "xyxy")
    enclosing = _product(_enclosing_sides(boxes1, boxes2))  # [..., N, M]
    return overlap / union - (enclosing - union) / enclosing


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """Distance IoU of every pair: IoU less the squared ratio of centre distance to the enclosing box's diagonal.

    Zheng et al., "Distance-IoU Loss", AAAI 2020.

    Args:
        boxes1: `[..., N, 4]`, corners x1, y1, x2, y2.
        boxes2: `[..., M, 4]`, the same leading dimensions.
        eps: added to the squared diagonal, in square pixels.

    Returns:
        `[..., N, M]` in (-1, 1]. Differentiable.

    Raises:
        ValueError: a shape is not as stated.

    Example:
        >>> distance_box_iou(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10]]))
        tensor([[ 1.0000, -0.2000]])
    """
    _check_sets("distance_box_iou", boxes1, boxes2)
    return box_iou(boxes1, boxes2) - _distance_penalty(boxes1, boxes2, eps)


def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """Complete IoU of every pair: distance IoU less a term for the difference in aspect ratio.

    Zheng et al., "Distance-IoU Loss", AAAI 2020. The weight of the aspect term is a constant for autograd, as there.

    Args:
        boxes1: `[..., N, 4]`, corners x1, y1, x2, y2.
        boxes2: `[..., M, 4]`, the same leading dimensions.
        eps: keeps the denominators from zero.

    Returns:
        `[..., N, M]`, at most 1. Differentiable.

    Raises:
        ValueError: a shape is not as stated.

    Example:
        >>> complete_box_iou(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 0, 10, 10]]))
        tensor([[1.]])
    """
    _check_sets("complete_box_iou", boxes1, boxes2)
    angle1, angle2 = (torch.atan(_width_over_height(boxes)) for boxes in (boxes1, boxes2))
    difference = 4 / math.pi**2 * (angle1[..., :, None] - angle2[..., None, :]) ** 2  # [..., N, M]
    iou = box_iou(boxes1, boxes2)
    with torch.no_grad():
        weight = difference / (1 - iou + difference + eps)
    return iou - _distance_penalty(boxes1, boxes2, eps) - weight * difference


def _width_over_height(boxes: Tensor) -> Tensor:
    width, height = (upcast(boxes)[..., 2:] - upcast(boxes)[..., :2]).unbind(-1)
    return width / height
