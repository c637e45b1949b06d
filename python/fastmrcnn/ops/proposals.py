"""From the output of a region proposal network's head to proposals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, context, is_plain_eager, native, register_kernel, workspace
from fastmrcnn.ops._sizes import sizes_tensor
from fastmrcnn.ops.box_coding import LARGEST_LOG_SIZE, Weights

__all__ = ["PaddedProposals", "generate_proposals"]

LIBRARY.define(
    "generate_proposals(Tensor[] logits, Tensor[] deltas, Tensor[] anchors, Tensor image_sizes, int pre_nms,"
    " int post_nms, float nms_iou, float min_size, float score_threshold, float[] weights, float clip)"
    " -> (Tensor boxes, Tensor scores, Tensor counts)"
)


class PaddedProposals(NamedTuple):
    """Proposals of a batch, whose shapes do not depend on how many there are."""

    boxes: Tensor  # [B, P, 4] x1, y1, x2, y2 in pixels; zeros behind the proposals of an image
    scores: Tensor  # [B, P] probabilities of being an object; zeros likewise
    counts: Tensor  # [B] int64, the number of proposals of each image

    def per_image(self) -> list[tuple[Tensor, Tensor]]:
        """For each image its boxes `[N, 4]` and scores `[N]`, views of these; waits for the device."""
        return [
            (boxes[:count], scores[:count])
            for boxes, scores, count in zip(self.boxes, self.scores, self.counts.tolist(), strict=True)
        ]


def _allocate(logits: Sequence[Tensor], post_nms: int) -> PaddedProposals:
    first = logits[0]
    batch = first.shape[0]
    dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
    return PaddedProposals(
        boxes=first.new_empty((batch, post_nms, 4), dtype=dtype),
        scores=first.new_empty((batch, post_nms), dtype=dtype),
        counts=first.new_empty((batch,), dtype=torch.int64),
    )


def _detached(levels: Sequence[Tensor]) -> list[Tensor]:
    return [level.detach() if level.requires_grad else level for level in levels]


def _generate_proposals(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    image_sizes: Tensor,
    pre_nms: int,
    post_nms: int,
    nms_iou: float,
    min_size: float,
    score_threshold: float,
    weights: Sequence[float],
    clip: float,
) -> PaddedProposals:
    found = _allocate(logits, post_nms)
    first = logits[0]
    candidates = min(pre_nms, max(math.prod(level.shape[1:]) for level in logits))  # of a level at most
    native.generate_proposals(
        context(first),
        logits,
        deltas,
        [level.to(found.boxes.dtype).contiguous() for level in anchors],
        image_sizes.contiguous(),
        pre_nms,
        nms_iou,
        min_size,
        score_threshold,
        weights,
        clip,
        *found,
        workspace("generate_proposals", first, len(first), len(logits), candidates, first.element_size()),
    )
    return found


register_kernel("generate_proposals", _generate_proposals)


@torch.library.register_fake("fastmrcnn::generate_proposals", lib=LIBRARY)
def _generate_proposals_fake(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    image_sizes: Tensor,
    pre_nms: int,
    post_nms: int,
    nms_iou: float,
    min_size: float,
    score_threshold: float,
    weights: Sequence[float],
    clip: float,
) -> PaddedProposals:
    return _allocate(logits, post_nms)


def generate_proposals(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    image_sizes: Tensor | Sequence[tuple[int, int]],
    *,
    pre_nms: int = 1000,
    post_nms: int = 1000,
    nms_iou: float = 0.7,
    min_size: float = 1e-3,
    score_threshold: float = 0.0,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
    clip: float = LARGEST_LOG_SIZE,
) -> PaddedProposals:
    """The proposals of a region proposal network: the best anchors of each level, decoded, clipped, thinned by NMS.

    Ren et al., "Faster R-CNN", section 3.3, on a feature pyramid (Lin et al. 2017, section 4.1). What torchvision does
    in `BoxCoder.decode` and `RegionProposalNetwork.filter_proposals`, in one operator that decodes little more than
    what it returns. The head's outputs are read where they lie: no permutation, concatenation or conversion is needed.

    Args:
        logits: for each level, `[B, A, H, W]` floating point: objectness of the A anchors of every cell.
        deltas: for each level, `[B, A * 4, H, W]` of the same dtype: dx, dy, dw, dh of each anchor in turn.
        anchors: for each level, `[H * W * A, 4]`, corners x1, y1, x2, y2 in pixels, as `generate_anchors` orders them.
        image_sizes: (height, width) of each image in pixels, a sequence or `[B, 2]` int64.
        pre_nms: candidates of a level and image: those of greatest logit.
        post_nms: P, proposals of an image at most: the best of all levels.
        nms_iou: a candidate is dropped when its IoU with a better proposal of its level is strictly greater.
        min_size: shortest side in pixels after clipping, inclusive.
        score_threshold: least score, inclusive.
        weights, clip: see `decode_boxes`.

    Returns:
        `PaddedProposals` with boxes `[B, P, 4]`, scores `[B, P]` and counts `[B]`; `per_image()` gives lists without
        the padding. Of the dtype of `logits`; half precision gives and is computed in float32.

        Descending in logit, hence in score. Equal logits come in the order of level, row, column, anchor. Candidates
        with a NaN in logit, deltas or anchor are counted among the `pre_nms`, as by torchvision, but never returned.
        Not differentiable; deterministic.

    Raises:
        ValueError: a shape, a dtype or the number of levels is not as stated, or `pre_nms`, `post_nms` or `nms_iou` is
            negative.

    Example:
        >>> from fastmrcnn.ops import generate_anchors
        >>> anchors = generate_anchors((32, 32), [(2, 2)], None, [[16]], [[1.0]])
        >>> logits, deltas = torch.tensor([[[[2.0, 0], [0, 1]]]]), torch.zeros(1, 4, 2, 2)
        >>> proposals = generate_proposals([logits], [deltas], anchors, [(32, 32)], pre_nms=2, post_nms=3)
        >>> proposals.counts
        tensor([2])
        >>> proposals.boxes[0]
        tensor([[ 0.,  0.,  8.,  8.],
                [ 8.,  8., 24., 24.],
                [ 0.,  0.,  0.,  0.]])
    """
    _check_options(logits, pre_nms, post_nms, nms_iou, weights)
    # Before the dispatcher sees them: it would take its outputs for differentiable, as they are of floating point.
    logits, deltas, anchors = _detached(logits), _detached(deltas), _detached(anchors)
    if not isinstance(image_sizes, Tensor):
        image_sizes = sizes_tensor(image_sizes, logits[0].device)
    plain = is_plain_eager(*logits, *deltas, *anchors, image_sizes)
    kernel = _generate_proposals if plain else torch.ops.fastmrcnn.generate_proposals.default
    found = kernel(
        logits,
        deltas,
        anchors,
        image_sizes,
        pre_nms,
        post_nms,
        nms_iou,
        min_size,
        score_threshold,
        weights,
        clip,
    )
    return PaddedProposals(*found)


def _check_options(
    logits: Sequence[Tensor], pre_nms: int, post_nms: int, nms_iou: float, weights: Sequence[float]
) -> None:
    """What has to be right before the outputs are allocated, and on every path."""
    if len(logits) == 0:
        raise ValueError("generate_proposals: logits must hold at least one level; got none")
    if logits[0].dim() != 4:
        raise ValueError(f"generate_proposals: logits[0] must be [B, A, H, W]; got {list(logits[0].shape)}")
    for option, value in (("pre_nms", pre_nms), ("post_nms", post_nms), ("nms_iou", nms_iou)):
        if not value >= 0:
            raise ValueError(f"generate_proposals: {option} must be >= 0; got {value}")
    if len(weights) != 4:
        raise ValueError(f"generate_proposals: weights must be four numbers; got {weights!r}")
