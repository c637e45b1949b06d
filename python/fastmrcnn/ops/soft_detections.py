"""From the output of a box head to detections, with soft-NMS."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastmrcnn.ops._library import is_plain_eager
from fastmrcnn.ops._sizes import sizes_tensor
from fastmrcnn.ops.box_coding import LARGEST_LOG_SIZE, Weights, decode_boxes
from fastmrcnn.ops.detections import PaddedDetections, check_arguments, in_images
from fastmrcnn.ops.soft_nms import SoftNMS, soft_nms_padded

__all__ = ["select_detections_softly"]

_LEAST_CANDIDATES = 1024
_CANDIDATES_PER_DETECTION = 4


def select_detections_softly(
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    counts: Tensor | None,
    image_sizes: Tensor | Sequence[tuple[int, int]],
    *,
    score_threshold: float = 0.05,
    nms_iou: float = 0.3,
    sigma: float = 0.5,
    method: SoftNMS = "gaussian",
    detections: int = 100,
    min_size: float = 1e-2,
    weights: Weights = (10.0, 10.0, 5.0, 5.0),
    clip: float = LARGEST_LOG_SIZE,
) -> PaddedDetections:
    """`select_detections` with `soft_nms` within each class in place of `nms`: objects that hide each other stay.

    Of an image the 1024 best candidates, or four times as many as `detections` if that is more, take part. On a GPU
    nothing waits for the device.

    Args:
        nms_iou: the `iou_threshold` of `soft_nms`, of the "linear" method.
        sigma, method: as for `soft_nms`.
        score_threshold: candidates are strictly above it, and detections whose score falls below it are dropped.
        logits, deltas, proposals, counts, image_sizes, detections, min_size, weights, clip: as for `select_detections`.

    Returns:
        `PaddedDetections`; scores are the decayed ones, descending. Not differentiable; deterministic.

    Raises:
        ValueError: as `select_detections` and `soft_nms`.

    Example:
        >>> logits = torch.tensor([[[0.0, 3.0], [0.0, 1.0], [0.0, -9.0]]])
        >>> proposals = torch.tensor([[[2.0, 2, 8, 8], [2, 2, 8, 9], [0, 0, 5, 5]]])
        >>> found = select_detections_softly(logits, torch.zeros(1, 3, 8), proposals, None, [(10, 10)], detections=2)
        >>> found.scores
        tensor([[0.9526, 0.1682]])
    """
    check_arguments("select_detections_softly", logits, deltas, proposals, detections, nms_iou, weights)
    logits, deltas, proposals = (tensor.detach() for tensor in (logits, deltas, proposals))
    logits, deltas = in_images(logits, proposals), in_images(deltas, proposals)
    if not isinstance(image_sizes, Tensor):
        image_sizes = sizes_tensor(image_sizes, logits.device)
    batch, regions, classes = logits.shape[0], logits.shape[1], logits.shape[2] - 1
    scores = _scores(logits, counts, score_threshold)  # [B, P, C], NaN where there is no candidate
    candidates = min(regions * classes, max(_LEAST_CANDIDATES, _CANDIDATES_PER_DETECTION * detections))
    best, chosen = torch.where(scores.isnan(), -1.0, scores).flatten(1).topk(candidates, dim=1)  # [B, K]
    row, label = chosen // max(classes, 1), chosen % max(classes, 1)
    boxes = _decoded(deltas, proposals, row, label, image_sizes, weights, clip)  # [B, K, 4]
    fits = ((boxes[..., 2:] - boxes[..., :2]) >= min_size).all(dim=2) & (best > 0)  # NaN fails
    usable = torch.where(fits, best, torch.nan)  # which soft-NMS drops
    image = torch.arange(batch, device=chosen.device)[:, None]
    groups = image * classes + label
    arguments = (boxes.flatten(0, 1), usable.flatten(), groups.flatten(), method, sigma, nms_iou, score_threshold)
    plain = is_plain_eager(boxes, usable, groups)
    kernel = soft_nms_padded if plain else torch.ops.fastmrcnn.soft_nms_padded.default
    keep, decayed, count = kernel(*arguments)
    slots, found = _slots(keep, count, batch, candidates, detections)
    filled = torch.arange(detections, device=keep.device) < found[:, None]  # [B, D]
    if keep.shape[0] == 0:  # nothing can be read from empty tensors
        nothing = boxes.new_zeros((batch, detections))
        return PaddedDetections(nothing[..., None].repeat(1, 1, 4), nothing, slots * 0, slots * 0, found)
    place = torch.where(filled, keep[slots], 0)

    def in_slots(values: Tensor) -> Tensor:
        return torch.where(filled if values.dim() == 1 else filled[..., None], values[place], 0)

    return PaddedDetections(
        boxes=in_slots(boxes.flatten(0, 1)),
        scores=torch.where(filled, decayed[slots], 0),
        labels=in_slots(label.flatten() + 1),
        rows=in_slots(row.flatten()),
        counts=found,
    )


def _scores(logits: Tensor, counts: Tensor | None, threshold: float) -> Tensor:
    """The probability of each class, [B, P, C]; NaN of no candidates. A region with a NaN among its logits has none."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    usable = wide.isfinite().all(dim=2)
    if counts is not None:
        usable &= torch.arange(wide.shape[1], device=wide.device) < counts[:, None]
    scores = wide.softmax(dim=2)[..., 1:]
    return torch.where(usable[..., None] & (scores > threshold), scores, torch.nan)


def _decoded(
    deltas: Tensor, proposals: Tensor, row: Tensor, label: Tensor, sizes: Tensor, weights: Weights, clip: float
) -> Tensor:
    """The clipped boxes of chosen regions and classes, [B, K, 4]."""
    boxes = proposals.gather(1, row[..., None].expand(-1, -1, 4))
    per_class = deltas.unflatten(2, (-1, 4))  # [B, P, C + 1 or 1, 4]
    column = label + 1 if per_class.shape[2] > 1 else torch.zeros_like(label)
    flat = per_class.flatten(1, 2)
    own = flat.gather(1, (row * per_class.shape[2] + column)[..., None].expand(-1, -1, 4))
    decoded = decode_boxes(own.flatten(0, 1), boxes.flatten(0, 1), weights, clip).view(*row.shape, 4)
    limit = sizes.to(decoded.dtype).flip(1).repeat(1, 2)[:, None]  # [B, 1, 4]: width, height, twice
    return decoded.clamp(min=0).minimum(limit)


def _slots(keep: Tensor, count: Tensor, batch: int, candidates: int, detections: int) -> tuple[Tensor, Tensor]:
    """Where in `keep` the detections of each image stand, [B, D], and how many there are, [B].

    `keep`, of which the first `count` mean something, names candidates of all images by descending score.
    """
    length = keep.shape[0]
    real = torch.arange(length, device=keep.device) < count
    image = torch.where(real, keep // max(candidates, 1), batch)
    order = image.argsort(stable=True)
    starts = torch.searchsorted(image[order], torch.arange(batch + 1, device=keep.device))
    found = (starts[1:] - starts[:-1]).clamp(max=detections)
    slots = starts[:-1, None] + torch.arange(detections, device=keep.device)
    return order[slots.clamp(max=length - 1)] if length > 0 else slots, found
