"""Axis-aligned boxes: formats, area, clipping, filtering, and the boxes around masks.

Plain torch code, differentiable wherever a gradient exists; names, signatures and results are torchvision's.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["box_area", "box_convert", "clip_boxes_to_image", "masks_to_boxes", "remove_small_boxes"]

FORMATS = ("xyxy", "xywh", "cxcywh")


def check_boxes(op: str, argument: str, boxes: Tensor) -> None:
    """Raises unless the last dimension holds the four numbers of a box."""
    if boxes.dim() == 0 or boxes.shape[-1] != 4:
        raise ValueError(f"{op}: {argument} must be [..., 4]; got {list(boxes.shape)}")


def check_format(op: str, argument: str, fmt: str) -> None:
    """Raises unless `fmt` names a box format."""
    if fmt not in FORMATS:
        raise ValueError(f"{op}: {argument} must be one of {', '.join(FORMATS)}; got {fmt!r}")


def upcast(boxes: Tensor) -> Tensor:
    """`boxes` in a dtype whose products neither overflow nor lose pixels: at least float32, or at least int32."""
    if boxes.is_floating_point():
        return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()
    return boxes if boxes.dtype in (torch.int32, torch.int64) else boxes.int()


def box_area(boxes: Tensor, fmt: str = "xyxy") -> Tensor:
    """Area of each box.

    Args:
        boxes: `[..., 4]`, floating point or integer.
        fmt: "xyxy", "xywh" or "cxcywh" (see `box_convert`).

    Returns:
        `[...]` areas in square pixels; negative for a box reversed in one direction. Half precision is computed and
        returned in float32. Differentiable.

    Raises:
        ValueError: the last dimension is not 4, or an unknown format.

    Example:
        >>> box_area(torch.tensor([[0.0, 0.0, 10.0, 5.0]]))
        tensor([50.])
    """
    check_boxes("box_area", "boxes", boxes)
    check_format("box_area", "fmt", fmt)
    a, b, c, d = upcast(boxes).unbind(-1)
    return (c - a) * (d - b) if fmt == "xyxy" else c * d


def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Converts boxes between formats.

    Args:
        boxes: `[..., 4]`, floating point or integer.
        in_fmt, out_fmt: "xyxy" (two corners), "xywh" (upper left corner, width, height) or "cxcywh" (centre, width,
            height).

    Returns:
        `[..., 4]`, always a new tensor. Differentiable.

    Raises:
        ValueError: the last dimension is not 4, or an unknown format.

    Example:
        >>> box_convert(torch.tensor([[10.0, 20.0, 30.0, 60.0]]), "xyxy", "cxcywh")
        tensor([[20., 40., 20., 40.]])
    """
    check_boxes("box_convert", "boxes", boxes)
    check_format("box_convert", "in_fmt", in_fmt)
    check_format("box_convert", "out_fmt", out_fmt)
    if in_fmt == out_fmt:
        return boxes.clone()
    a, b, c, d = boxes.unbind(-1)
    if in_fmt == "xywh":
        x1, y1, x2, y2 = a, b, a + c, b + d
    elif in_fmt == "cxcywh":
        x1, y1, x2, y2 = a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d
    else:
        x1, y1, x2, y2 = a, b, c, d
    if out_fmt == "xywh":
        converted = x1, y1, x2 - x1, y2 - y1
    elif out_fmt == "cxcywh":
        converted = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    else:
        converted = x1, y1, x2, y2
    return torch.stack(converted, dim=-1)


def clip_boxes_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Clips boxes to an image.

    Args:
        boxes: `[..., 4]`, corners x1, y1, x2, y2 in pixels.
        size: (height, width) of the image in pixels.

    Returns:
        `[..., 4]` with x in [0, width] and y in [0, height]; NaN stays NaN. Differentiable: no gradient where clipped.

    Raises:
        ValueError: the last dimension is not 4.

    Example:
        >>> clip_boxes_to_image(torch.tensor([[-5.0, 2.0, 40.0, 20.0]]), (10, 30))
        tensor([[ 0.,  2., 30., 10.]])
    """
    check_boxes("clip_boxes_to_image", "boxes", boxes)
    height, width = size
    x = boxes[..., 0::2].clamp(min=0, max=width)
    y = boxes[..., 1::2].clamp(min=0, max=height)
    return torch.stack((x, y), dim=-1).flatten(-2)


def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """Indices of the boxes with both sides at least `min_size`.

    Args:
        boxes: `[N, 4]`, corners x1, y1, x2, y2 in pixels.
        min_size: smallest side in pixels, inclusive.

    Returns:
        `[kept]` int64 in ascending order. A box that holds a NaN is dropped. Not differentiable.

    Raises:
        ValueError: the last dimension is not 4.

    Example:
        >>> remove_small_boxes(torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 1]]), min_size=2)
        tensor([0])
    """
    check_boxes("remove_small_boxes", "boxes", boxes)
    sides = boxes[..., 2:] - boxes[..., :2]  # [N, 2]
    return torch.where((sides >= min_size).all(-1))[0]


def masks_to_boxes(masks: Tensor) -> Tensor:
    """The smallest box around each mask, its maxima inclusive: one pixel at (x, y) gives x, y, x, y.

    Args:
        masks: `[N, H, W]` of any dtype; pixels that are not zero belong to the mask.

    Returns:
        `[N, 4]` float32, corners x1, y1, x2, y2 as pixel indices; zeros for an empty mask. Not differentiable.

    Raises:
        ValueError: `masks` has not three dimensions.

    Example:
        >>> mask = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> mask[0, 2:5, 3:7] = True
        >>> masks_to_boxes(mask)
        tensor([[3., 2., 6., 4.]])
    """
    if masks.dim() != 3:
        raise ValueError(f"masks_to_boxes: masks must be [N, H, W]; got {list(masks.shape)}")
    if masks.numel() == 0:
        return masks.new_zeros((masks.shape[0], 4), dtype=torch.float32)
    x1, x2 = _extent(masks.any(dim=1).bool())  # [N, W]
    y1, y2 = _extent(masks.any(dim=2).bool())  # [N, H]
    return torch.stack((x1, y1, x2, y2), dim=1).float()


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true index of each row of `occupied` `[N, L]`; zeros for a row without one."""
    index = torch.arange(occupied.shape[1], device=occupied.device)
    last = torch.where(occupied, index, 0).amax(1)
    first = torch.where(occupied, index, occupied.shape[1]).amin(1)
    return torch.minimum(first, last), last
