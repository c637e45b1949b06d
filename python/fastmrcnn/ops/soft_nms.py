"""Soft non-maximum suppression."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, as_native_float, context, is_plain_eager, native, register_kernel, workspace

__all__ = ["SoftNMS", "soft_nms"]

SoftNMS = Literal["gaussian", "linear"]

_ARGUMENTS = (
    "(Tensor boxes, Tensor scores, Tensor? groups, str method, float sigma, float iou_threshold, float score_threshold)"
)
LIBRARY.define(f"soft_nms{_ARGUMENTS} -> (Tensor, Tensor)")
LIBRARY.define(f"soft_nms_padded{_ARGUMENTS} -> (Tensor keep, Tensor scores, Tensor count)")


def soft_nms_padded(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    method: str,
    sigma: float,
    iou_threshold: float,
    score_threshold: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs of the length of the boxes, of which the first `count` [1] mean something: nothing waits for it."""
    boxes, scores_dtype = as_native_float(boxes).contiguous(), scores.dtype
    scores = scores.to(boxes.dtype).contiguous()
    if groups is not None:
        groups = groups.to(torch.int64).contiguous()
    keep = torch.empty(boxes.shape[:1], dtype=torch.int64, device=boxes.device)
    decayed = torch.empty_like(scores)
    count = torch.empty(1, dtype=torch.int64, device=boxes.device)
    memory = workspace("soft_nms", boxes, len(boxes), groups is not None, boxes.dtype == torch.float64)
    options = (method, sigma, iou_threshold, score_threshold)
    native.soft_nms(context(boxes), boxes, scores, groups, *options, keep, decayed, count, memory)
    return keep, decayed.to(scores_dtype), count


register_kernel("soft_nms_padded", soft_nms_padded)


@torch.library.register_fake("fastmrcnn::soft_nms_padded", lib=LIBRARY)
def _soft_nms_padded_fake(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    method: str,
    sigma: float,
    iou_threshold: float,
    score_threshold: float,
) -> tuple[Tensor, Tensor, Tensor]:
    keep = boxes.new_empty(boxes.shape[:1], dtype=torch.int64)
    return keep, torch.empty_like(scores), keep.new_empty((1,))


def _soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    method: str,
    sigma: float,
    iou_threshold: float,
    score_threshold: float,
) -> tuple[Tensor, Tensor]:
    keep, decayed, count = soft_nms_padded(boxes, scores, groups, method, sigma, iou_threshold, score_threshold)
    kept = int(count)  # on CUDA the one synchronisation
    return keep[:kept], decayed[:kept]


register_kernel("soft_nms", _soft_nms)


@torch.library.register_fake("fastmrcnn::soft_nms", lib=LIBRARY)
def _soft_nms_fake(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    method: str,
    sigma: float,
    iou_threshold: float,
    score_threshold: float,
) -> tuple[Tensor, Tensor]:
    torch._check(
        boxes.dim() == 2 and boxes.shape[1] == 4, lambda: f"soft_nms: boxes must be [N, 4]; got {list(boxes.shape)}"
    )
    kept = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty((kept,), dtype=torch.int64), scores.new_empty((kept,))


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
    method: SoftNMS = "gaussian",
    idxs: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Lowers the scores of boxes that overlap a better one, where `nms` would drop them.

    The box of the highest score is selected, the scores of all others are multiplied by a factor that falls with their
    IoU with it, and so on with the rest, until no score reaches `score_threshold`. Objects that hide each other keep
    boxes of their own, at lower scores.

    Args:
        boxes: `[N, 4]` floating point, corners x1, y1, x2, y2 in pixels. float16 and bfloat16 are computed in float32.
        scores: `[N]` floating point, not negative, higher is better. Of equal scores the lower index comes first.
        sigma: `"gaussian"`: the factor is `exp(-IoU^2 / sigma)`.
        iou_threshold: `"linear"`: the factor is `1 - IoU` where the IoU is strictly greater than this.
        score_threshold: boxes whose score is or falls below this are dropped, and so are those of NaN scores.
        method: `"gaussian"`, which decays without a jump, or `"linear"`.
        idxs: `[N]` integers, the class (or level, or image) of each box: boxes of different ones do not touch each
            other's scores.

    Returns:
        `[kept]` int64 indices into `boxes`, in descending order of their decayed scores, and `[kept]` those scores, in
        the dtype of `scores`. Boxes of zero area and boxes that hold a NaN overlap nothing. Not differentiable;
        deterministic. The same on CPU and CUDA in float32; on CUDA the call waits for the device once, to learn how
        many are kept.

    Raises:
        ValueError: a shape is not as stated, `method` is unknown, `sigma` is not positive or a threshold is negative.

    Source: Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", 2017, section 3.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30]])
        >>> soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]))
        (tensor([0, 2, 1]), tensor([0.9000, 0.7000, 0.2224]))
    """
    if idxs is not None and idxs.shape != scores.shape:
        raise ValueError(f"soft_nms: idxs must be {list(scores.shape)} like scores; got {list(idxs.shape)}")
    boxes, scores = boxes.detach(), scores.detach()  # here, so that torch asks the operator for no derivative
    tensors = (boxes, scores) if idxs is None else (boxes, scores, idxs)
    kernel = _soft_nms if is_plain_eager(*tensors) else torch.ops.fastmrcnn.soft_nms.default
    keep, decayed = kernel(boxes, scores, idxs, method, sigma, iou_threshold, score_threshold)
    return keep, decayed
