"""Non-maximum suppression."""

from __future__ import annotations

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, as_native_float, context, is_plain_eager, native, register_kernel, workspace

__all__ = ["batched_nms", "nms"]

LIBRARY.define("nms(Tensor boxes, Tensor scores, Tensor? groups, float iou_threshold) -> Tensor")


def _nms(boxes: Tensor, scores: Tensor, groups: Tensor | None, iou_threshold: float) -> Tensor:
    boxes = as_native_float(boxes).contiguous()
    scores = scores.to(boxes.dtype).contiguous()
    if groups is not None:
        groups = groups.to(torch.int64).contiguous()
    keep = torch.empty(boxes.shape[:1], dtype=torch.int64, device=boxes.device)
    count = torch.empty(1, dtype=torch.int64, device=boxes.device)
    memory = workspace("nms", boxes, len(boxes), groups is not None, boxes.dtype == torch.float64)
    native.nms(context(boxes), boxes.detach(), scores.detach(), groups, iou_threshold, keep, count, memory)
    kept = int(count)  # on CUDA the one synchronisation
    return keep[:kept].clone() if len(keep) > 4 * kept else keep[:kept]


register_kernel("nms", _nms)


@torch.library.register_fake("fastmrcnn::nms", lib=LIBRARY)
def _nms_fake(boxes: Tensor, scores: Tensor, groups: Tensor | None, iou_threshold: float) -> Tensor:
    torch._check(
        boxes.dim() == 2 and boxes.shape[1] == 4, lambda: f"nms: boxes must be [N, 4]; got {list(boxes.shape)}"
    )
    kept = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty((kept,), dtype=torch.int64)


def _call(boxes: Tensor, scores: Tensor, groups: Tensor | None, iou_threshold: float) -> Tensor:
    if not torch.compiler.is_compiling():
        keep: Tensor | None = native.direct_nms(boxes, scores, groups, iou_threshold)
        if keep is not None:
            return keep
    tensors = (boxes, scores) if groups is None else (boxes, scores, groups)
    kernel = _nms if is_plain_eager(*tensors) else torch.ops.fastmrcnn.nms.default
    return kernel(boxes, scores, groups, iou_threshold)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keeps the boxes that overlap no kept box of higher score by more than a threshold.

    Args:
        boxes: `[N, 4]` floating point, corners x1, y1, x2, y2 in pixels. float16 and bfloat16 are computed in float32.
        scores: `[N]` floating point, higher is better, compared in the dtype of `boxes`. Of equal scores the lower
            index comes first.
        iou_threshold: a box is dropped when its IoU with a kept box is strictly greater.

    Returns:
        `[kept]` int64 indices into `boxes`, in descending order of score. Boxes of zero area and boxes that hold a NaN
        overlap nothing and are always kept. Not differentiable; deterministic. The same indices on CPU and CUDA; on
        CUDA the call waits for the device once, to learn how many are kept.

    Raises:
        ValueError: a shape is not as stated.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
        >>> nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
        tensor([0, 2])
    """
    return _call(boxes, scores, None, iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` within each class (or level, or image): boxes of different `idxs` never suppress each other.

    No offset is added to the coordinates, so no precision is lost however many classes there are.

    Args:
        boxes: `[N, 4]` floating point, corners x1, y1, x2, y2 in pixels. float16 and bfloat16 are computed in float32.
        scores: `[N]` floating point.
        idxs: `[N]` whole numbers, the class of each box.
        iou_threshold: a box is dropped when its IoU with a kept box of its class is strictly greater.

    Returns:
        `[kept]` int64 indices into `boxes`, in descending order of score over all classes. Not differentiable;
        deterministic.

    Raises:
        ValueError: a shape is not as stated.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
        >>> batched_nms(boxes, torch.tensor([0.8, 0.9]), torch.tensor([1, 2]), 0.5)
        tensor([1, 0])
    """
    if idxs.shape != scores.shape:
        raise ValueError(f"batched_nms: idxs must be {list(scores.shape)} like scores; got {list(idxs.shape)}")
    return _call(boxes, scores, idxs, iou_threshold)
