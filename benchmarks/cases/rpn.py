"""What follows the RPN's head: the best anchors of each level, decoded, clipped, filtered, thinned by NMS."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork as TheirNetwork

from benchmarks.case import Case, Contest, Goal, Work
from benchmarks.cases.nms import PAIR_FLOPS
from benchmarks.workloads import STRIDES, Workload, generator
from fastmrcnn.models.anchors import make_anchors
from fastmrcnn.models.config import AnchorConfig, RPNConfig
from fastmrcnn.models.instances import Proposals
from fastmrcnn.models.rpn import RegionProposalNetwork, RPNPrediction
from fastmrcnn.ops import decode_boxes

BOX_TOLERANCE = 1e-3  # px
NMS_IOU = 0.7
ANCHOR_BYTES = 16 + 16  # deltas and anchor


def cases(workload: Workload) -> Iterator[Case]:
    yield Case("RPN post-processing", partial(_contest, workload), goal=Goal(ratio=20), in_readme=True)


def rpn_prediction(workload: Workload) -> RPNPrediction:
    """Of one image, P2..P6. Objectness is smooth, as that of a network: neighbouring anchors score alike."""
    strides = (*STRIDES, 2 * STRIDES[-1])
    features = [torch.empty(1, 1, *(-(-side // stride) for side in workload.image)) for stride in strides]
    anchors = make_anchors([feature.to(workload.device) for feature in features], workload.image, AnchorConfig())
    logits, deltas = [], []
    for stride, feature in zip(strides, features, strict=True):
        g = generator(stride)
        hills = torch.randn(1, 3, *(max(side // 4, 2) for side in feature.shape[2:]), generator=g)
        smooth = F.interpolate(hills, size=feature.shape[2:], mode="bilinear") * 2
        level = smooth + 0.5 * torch.randn(smooth.shape, generator=g)
        logits.append(level.permute(0, 2, 3, 1).flatten(1).to(workload.device))
        deltas.append((torch.randn(1, logits[-1].shape[1], 4, generator=g) * 0.2).to(workload.device))
    return RPNPrediction(logits, deltas, anchors)


def _contest(workload: Workload) -> Contest:
    prediction = rpn_prediction(workload)
    size = workload.photograph  # proposals are clipped to the image, not to its padding
    limit = {"training": workload.candidates, "testing": workload.candidates}
    theirs = TheirNetwork(None, None, 0.7, 0.3, 256, 0.5, limit, limit, NMS_IOU).eval()
    config = RPNConfig(pre_nms_test=workload.candidates, post_nms_test=workload.candidates, nms_iou=NMS_IOU)
    ours = RegionProposalNetwork(1, config).to(workload.device).eval()
    per_level = [logits.shape[1] for logits in prediction.logits]
    logits, deltas = torch.cat(prediction.logits, dim=1), torch.cat(prediction.deltas, dim=1)[0]
    anchors = torch.cat(prediction.anchors)

    @torch.no_grad()
    def peer() -> tuple[Tensor, Tensor]:
        boxes = theirs.box_coder.decode(deltas, [anchors]).view(1, -1, 4)
        [kept], [scores] = theirs.filter_proposals(boxes, logits, [size], per_level)
        return kept, scores

    return Contest("torchvision", peer, lambda: ours.propose(prediction, [size]), _check, _work(prediction, workload))


def _check(ours: list[Proposals], theirs: tuple[Tensor, Tensor]) -> str:
    boxes, scores = theirs
    torch.testing.assert_close(ours[0].boxes, boxes, rtol=0, atol=BOX_TOLERANCE)
    torch.testing.assert_close(ours[0].scores, scores, rtol=0, atol=1e-6)
    return f"{len(boxes)} proposals in the same order, within {BOX_TOLERANCE:g} px"


def _work(prediction: RPNPrediction, workload: Workload) -> Work:
    """Every logit is read once, deltas and anchors of the candidates alone; NMS tests pairs as `nms.pair_work` counts
    them, with what survives on each level."""
    reads, pairs = 0, 0
    for logits, deltas, anchors in zip(prediction.logits, prediction.deltas, prediction.anchors, strict=True):
        best = logits[0].topk(min(workload.candidates, logits.shape[1]))
        boxes = decode_boxes(deltas[0, best.indices], anchors[best.indices], (1.0, 1.0, 1.0, 1.0))
        boxes = torchvision.ops.clip_boxes_to_image(boxes, workload.photograph)
        kept = len(torchvision.ops.nms(boxes, best.values, NMS_IOU))
        pairs += kept * (kept - 1) // 2 + len(boxes) - kept
        reads += logits.numel() * logits.itemsize + len(boxes) * ANCHOR_BYTES
    return Work(reads=reads, writes=workload.candidates * 20, flops=pairs * PAIR_FLOPS)
