"""From the output of a box head to detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, context, is_plain_eager, native, register_kernel, workspace
from fastmrcnn.ops._sizes import sizes_tensor
from fastmrcnn.ops.box_coding import LARGEST_LOG_SIZE, Weights

__all__ = ["PaddedDetections", "select_detections"]

LIBRARY.define(
    "select_detections(Tensor logits, Tensor deltas, Tensor proposals, Tensor? counts, Tensor image_sizes,"
    " float score_threshold, float nms_iou, int detections, float min_size, float[] weights, float clip)"
    " -> (Tensor boxes, Tensor scores, Tensor labels, Tensor rows, Tensor counts)"
)


class PaddedDetections(NamedTuple):
    """Detections of a batch, whose shapes do not depend on how many there are; zeros behind those of an image."""

    boxes: Tensor  # [B, D, 4] x1, y1, x2, y2 in pixels
    scores: Tensor  # [B, D] probabilities of the class
    labels: Tensor  # [B, D] int64, the class, 1..C
    rows: Tensor  # [B, D] int64, the proposal of the image that the detection was made of
    counts: Tensor  # [B] int64, the number of detections of each image

    def per_image(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """For each image its boxes `[N, 4]`, scores, labels and rows `[N]`, views of these; waits for the device."""
        fields = zip(self.boxes, self.scores, self.labels, self.rows, strict=True)
        return [
            (boxes[:count], scores[:count], labels[:count], rows[:count])
            for (boxes, scores, labels, rows), count in zip(fields, self.counts.tolist(), strict=True)
        ]


def _allocate(logits: Tensor, detections: int) -> PaddedDetections:
    batch = logits.shape[0]
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return PaddedDetections(
        boxes=logits.new_empty((batch, detections, 4), dtype=dtype),
        scores=logits.new_empty((batch, detections), dtype=dtype),
        labels=logits.new_empty((batch, detections), dtype=torch.int64),
        rows=logits.new_empty((batch, detections), dtype=torch.int64),
        counts=logits.new_empty((batch,), dtype=torch.int64),
    )


def _select_detections(
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    counts: Tensor | None,
    image_sizes: Tensor,
    score_threshold: float,
    nms_iou: float,
    detections: int,
    min_size: float,
    weights: Sequence[float],
    clip: float,
) -> PaddedDetections:
    found = _allocate(logits, detections)
    memory = workspace("select_detections", logits, *logits.shape, detections, found.scores.element_size())
    native.select_detections(
        context(logits),
        logits.contiguous(),
        deltas.contiguous(),
        proposals.to(found.boxes.dtype).contiguous(),
        None if counts is None else counts.contiguous(),
        image_sizes.contiguous(),
        score_threshold,
        nms_iou,
        min_size,
        weights,
        clip,
        *found,
        memory,
    )
    return found


register_kernel("select_detections", _select_detections)


@torch.library.register_fake("fastmrcnn::select_detections", lib=LIBRARY)
def _select_detections_fake(
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    counts: Tensor | None,
    image_sizes: Tensor,
    score_threshold: float,
    nms_iou: float,
    detections: int,
    min_size: float,
    weights: Sequence[float],
    clip: float,
) -> PaddedDetections:
    return _allocate(logits, detections)


def select_detections(
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    counts: Tensor | None,
    image_sizes: Tensor | Sequence[tuple[int, int]],
    *,
    score_threshold: float = 0.05,
    nms_iou: float = 0.5,
    detections: int = 100,
    min_size: float = 1e-2,
    weights: Weights = (10.0, 10.0, 5.0, 5.0),
    clip: float = LARGEST_LOG_SIZE,
) -> PaddedDetections:
    """The detections of a Fast R-CNN box head: classified, decoded, clipped, thinned by NMS within each class.

    Girshick, "Fast R-CNN", section 2.3. What torchvision does in `RoIHeads.postprocess_detections`, in one operator
    with outputs of fixed size. Any number of candidates may pass the threshold, which COCO's evaluation wants near
    zero: none is dropped before NMS, and only as many are decoded as it takes to find the detections.

    Args:
        logits: `[B, P, C + 1]` or `[B * P, C + 1]` floating point: of the background (0) and of C classes.
        deltas: `[B, P, (C + 1) * 4]` or `[B * P, (C + 1) * 4]` of the same dtype: dx, dy, dw, dh of each class in
            turn, or 4 in place of `(C + 1) * 4` where all classes share one box.
        proposals: `[B, P, 4]`, corners x1, y1, x2, y2 in pixels.
        counts: `[B]` int64, how many of the P proposals of each image are real, the first ones; None: all of them.
        image_sizes: (height, width) of each image in pixels, a sequence or `[B, 2]` int64.
        score_threshold: a class is a candidate where its softmax probability is strictly greater.
        nms_iou: a candidate is dropped when its IoU with a better detection of its class is strictly greater.
        detections: D, those of an image at most: the best of all classes.
        min_size: shortest side in pixels after clipping, inclusive.
        weights, clip: see `decode_boxes`.

    Returns:
        `PaddedDetections` with boxes `[B, D, 4]`, scores, labels and rows `[B, D]` and counts `[B]`; `per_image()`
        gives tensors without the padding. Boxes and scores are of the dtype of `logits`; half precision gives and is
        computed in float32.

        By descending score; equal scores come in the order of proposal and class. Proposals with a NaN or infinity
        among their logits have no detections, nor have candidates with a NaN in deltas or proposal. The scores are
        torch's softmax but for the last bits, the same on every device. Not differentiable; deterministic.

    Raises:
        ValueError: a shape or dtype is not as stated, `detections` or `nms_iou` is negative, or (on the CPU) a count
            lies outside 0..P. On CUDA such a count is taken for the nearest of these.

    Example:
        >>> logits = torch.tensor([[[0.0, 3.0], [0.0, 1.0], [0.0, -9.0]]])
        >>> proposals = torch.tensor([[[2.0, 2, 8, 8], [2, 2, 8, 9], [0, 0, 5, 5]]])
        >>> found = select_detections(logits, torch.zeros(1, 3, 8), proposals, None, [(10, 10)], detections=2)
        >>> found.counts
        tensor([1])
        >>> found.boxes[0]
        tensor([[2., 2., 8., 8.],
                [0., 0., 0., 0.]])
    """
    check_arguments("select_detections", logits, deltas, proposals, detections, nms_iou, weights)
    # Before the dispatcher sees them: it would take its outputs for differentiable, as they are of floating point.
    logits, deltas, proposals = (
        tensor.detach() if tensor.requires_grad else tensor for tensor in (logits, deltas, proposals)
    )
    if not isinstance(image_sizes, Tensor):
        image_sizes = sizes_tensor(image_sizes, logits.device)
    tensors = [tensor for tensor in (logits, deltas, proposals, counts, image_sizes) if tensor is not None]
    kernel = _select_detections if is_plain_eager(*tensors) else torch.ops.fastmrcnn.select_detections.default
    found = kernel(
        in_images(logits, proposals),
        in_images(deltas, proposals),
        proposals,
        counts,
        image_sizes,
        score_threshold,
        nms_iou,
        detections,
        min_size,
        weights,
        clip,
    )
    return PaddedDetections(*found)


def in_images(rows: Tensor, proposals: Tensor) -> Tensor:
    """`[B * P, N]` -> `[B, P, N]`."""
    return rows if rows.dim() == 3 else rows.unflatten(0, proposals.shape[:2])


def check_arguments(
    op: str,
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    detections: int,
    nms_iou: float,
    weights: Sequence[float],
) -> None:
    """What has to be right before the outputs are allocated, and on every path."""
    if proposals.dim() != 3:
        raise ValueError(f"{op}: proposals must be [B, P, 4]; got {list(proposals.shape)}")
    rows = proposals.shape[0] * proposals.shape[1]
    for name, width, tensor in (("logits", "C + 1", logits), ("deltas", "(C + 1) * 4", deltas)):
        if tensor.dim() != 3 and (tensor.dim() != 2 or tensor.shape[0] != rows):
            raise ValueError(
                f"{op}: {name} must be [B, P, {width}] or [B * P, {width}] with B and P those of "
                f"proposals; got {list(tensor.shape)}"
            )
    for option, value in (("detections", detections), ("nms_iou", nms_iou)):
        if not value >= 0:
            raise ValueError(f"{op}: {option} must be >= 0; got {value}")
    if len(weights) != 4:
        raise ValueError(f"{op}: weights must be four numbers; got {weights!r}")
