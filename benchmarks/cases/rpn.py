"""What follows the RPN's head: the best anchors of each level, decoded, clipped, filtered, thinned by NMS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers

from benchmarks.case import Case, Contest, Goal, Work
from benchmarks.cases.nms import PAIR_FLOPS
from benchmarks.workloads import LAYOUTS, STRIDES, Workload, generator
from fastmrcnn import ops
from fastmrcnn.models.anchors import make_anchors
from fastmrcnn.models.config import AnchorConfig

BOX_TOLERANCE = 1e-3  # px
NMS_IOU = 0.7
PER_CELL = 3  # anchors
ANCHOR_BYTES = 16 + 16  # deltas and anchor


@dataclass(frozen=True)
class HeadOutput:
    """Of B images, P2..P6."""

    logits: list[Tensor]  # [B, 3, H_i, W_i]
    deltas: list[Tensor]  # [B, 12, H_i, W_i]
    anchors: list[Tensor]  # [H_i * W_i * 3, 4]


def cases(workload: Workload) -> Iterator[Case]:
    for layout in LAYOUTS:
        yield Case(
            "RPN post-processing",
            partial(_contest, workload, layout),
            layout=layout,
            goal=Goal(ratio=20),
            in_readme=True,
        )


RPN_STRIDES = (*STRIDES, 2 * STRIDES[-1])  # P2..P6


def level_sizes(workload: Workload) -> list[tuple[int, int]]:
    """Of P2..P6: 268,569 anchors on the standard image."""
    height, width = workload.image
    return [(-(-height // stride), -(-width // stride)) for stride in RPN_STRIDES]


def level_anchors(workload: Workload) -> list[Tensor]:
    features = [torch.empty(1, 1, *size, device=workload.device) for size in level_sizes(workload)]
    return make_anchors(features, RPN_STRIDES, workload.image, AnchorConfig())


def head_output(workload: Workload, layout: str) -> HeadOutput:
    """Objectness is smooth, as that of a network: neighbouring anchors score alike."""
    logits, deltas = [], []
    for index, size in enumerate(level_sizes(workload)):
        g = generator(index)
        hills = torch.randn(workload.images, PER_CELL, *(max(side // 4, 2) for side in size), generator=g)
        smooth = F.interpolate(hills, size=size, mode="bilinear") * 2
        logits.append(smooth + 0.5 * torch.randn(smooth.shape, generator=g))
        deltas.append(torch.randn(workload.images, PER_CELL * 4, *size, generator=g) * 0.2)
    placed = [
        [level.to(workload.device, memory_format=LAYOUTS[layout]) for level in levels] for levels in (logits, deltas)
    ]
    return HeadOutput(*placed, level_anchors(workload))


def _contest(workload: Workload, layout: str) -> Contest:
    output = head_output(workload, layout)
    size = workload.photograph  # proposals are clipped to the image, not to its padding
    limit = {"training": workload.candidates, "testing": workload.candidates}
    network = RegionProposalNetwork(None, None, 0.7, 0.3, 256, 0.5, limit, limit, NMS_IOU).eval()
    anchors = torch.cat(output.anchors)
    per_level = [len(level) for level in output.anchors]

    def peer() -> list[tuple[Tensor, Tensor]]:
        logits, deltas = concat_box_prediction_layers(output.logits, output.deltas)
        boxes = network.box_coder.decode(deltas, [anchors] * workload.images).view(workload.images, -1, 4)
        kept, scores = network.filter_proposals(boxes, logits, [size] * workload.images, per_level)
        return list(zip(kept, scores, strict=True))

    def ours() -> list[tuple[Tensor, Tensor]]:
        found = ops.generate_proposals(
            output.logits,
            output.deltas,
            output.anchors,
            [size] * workload.images,
            pre_nms=workload.candidates,
            post_nms=workload.candidates,
            nms_iou=NMS_IOU,
        )
        return found.per_image()

    return Contest("torchvision", peer, ours, _check, _work(output, workload))


def _check(ours: list[tuple[Tensor, Tensor]], theirs: list[tuple[Tensor, Tensor]]) -> str:
    for (boxes, scores), (expected_boxes, expected_scores) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(boxes, expected_boxes, rtol=0, atol=BOX_TOLERANCE)
        torch.testing.assert_close(scores, expected_scores, rtol=0, atol=1e-6)
    counts = " + ".join(str(len(boxes)) for boxes, _ in ours)
    return f"{counts} proposals in the same order, within {BOX_TOLERANCE:g} px"


def _work(output: HeadOutput, workload: Workload) -> Work:
    """Every logit is read once, deltas and anchors of the candidates alone; NMS tests pairs as `nms.pair_work` counts
    them, with what survives on each level."""
    reads, pairs = 0, 0
    for logits, deltas, anchors in zip(output.logits, output.deltas, output.anchors, strict=True):
        for scores, offsets in zip(logits.permute(0, 2, 3, 1), deltas.permute(0, 2, 3, 1), strict=True):
            best = scores.flatten().topk(min(workload.candidates, scores.numel()))
            chosen = offsets.reshape(-1, 4)[best.indices]
            boxes = ops.decode_boxes(chosen, anchors[best.indices], (1.0, 1.0, 1.0, 1.0))
            boxes = torchvision.ops.clip_boxes_to_image(boxes, workload.photograph)
            kept = len(torchvision.ops.nms(boxes, best.values, NMS_IOU))
            pairs += kept * (kept - 1) // 2 + len(boxes) - kept
            reads += scores.numel() * scores.itemsize + len(boxes) * ANCHOR_BYTES
    return Work(reads=reads, writes=workload.images * workload.candidates * 20, flops=pairs * PAIR_FLOPS)
