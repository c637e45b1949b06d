"""What follows the box head: softmax, threshold, decoding, clipping, NMS within each class, the best of all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads

from benchmarks.case import Case, Contest, Work
from benchmarks.workloads import SEED, Workload, generator
from fastmrcnn import ops

BOX_TOLERANCE = 1e-3  # px
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
NMS_IOU = 0.5
EXPONENTIAL_FLOPS = 20  # its polynomial, scaling and range checks

Found = list[tuple[Tensor, Tensor, Tensor]]  # boxes, scores and labels of each image


def cases(workload: Workload) -> Iterator[Case]:
    for threshold in (0.05, 0.001):
        yield Case(
            f"box head post-processing, scores > {threshold:g}",
            partial(_contest, workload, threshold),
            in_readme=threshold == 0.05,
        )


def head_output(workload: Workload) -> tuple[Tensor, Tensor, Tensor]:
    """logits [B, P, C + 1], deltas [B, P, (C + 1) * 4] and proposals [B, P, 4].

    Proposals cluster around objects, two in three of which the head takes for background, more or less surely; of the
    others each has a class that most of its proposals are given.
    """
    g = generator(SEED + 5)
    shape = (workload.images, workload.box_rois)
    objects = workload.log_uniform_boxes(50, low=40).cpu()
    around = torch.randint(len(objects), shape, generator=g)
    sides = (objects[:, 2:] - objects[:, :2]).repeat(1, 2)[around]
    proposals = objects[around] + 0.1 * sides * torch.randn(*shape, 4, generator=g)
    logits = torch.randn(*shape, workload.classes + 1, generator=g)
    own_class = torch.where(around % 3 == 0, 1 + around % workload.classes, 0)
    logits.scatter_add_(2, own_class[..., None], 9 + 2 * torch.randn(*shape, 1, generator=g))
    deltas = 0.5 * torch.randn(*shape, (workload.classes + 1) * 4, generator=g)
    return logits.to(workload.device), deltas.to(workload.device), proposals.to(workload.device)


def _contest(workload: Workload, threshold: float) -> Contest:
    logits, deltas, proposals = head_output(workload)
    sizes = [workload.photograph] * workload.images
    heads = RoIHeads(None, None, None, 0.5, 0.5, 512, 0.25, WEIGHTS, threshold, NMS_IOU, workload.instances)
    flat = logits.flatten(0, 1), deltas.flatten(0, 1)

    def peer() -> Found:
        return list(zip(*heads.postprocess_detections(*flat, list(proposals), sizes), strict=True))

    def ours() -> Found:
        found = ops.select_detections(
            logits,
            deltas,
            proposals,
            None,
            sizes,
            score_threshold=threshold,
            nms_iou=NMS_IOU,
            detections=workload.instances,
            weights=WEIGHTS,
        )
        return [image[:3] for image in found.per_image()]

    # Background is told by a comparison; of the rest every class needs its exponential.
    candidates = logits.softmax(-1)[..., 1:] > threshold
    undecided = int(candidates.any(-1).sum())
    work = Work(
        reads=logits.nbytes,
        writes=workload.images * workload.instances * (16 + 4 + 8 + 8),
        flops=logits.numel() + undecided * logits.shape[-1] * EXPONENTIAL_FLOPS,
    )
    return Contest("torchvision", peer, ours, partial(_check, int(candidates.sum())), work)


def _check(candidates: int, ours: Found, theirs: Found) -> str:
    for (boxes, scores, labels), (their_boxes, their_scores, their_labels) in zip(ours, theirs, strict=True):
        assert torch.equal(labels, their_labels), "labels differ"
        torch.testing.assert_close(boxes, their_boxes, rtol=0, atol=BOX_TOLERANCE)
        torch.testing.assert_close(scores, their_scores, rtol=1e-6, atol=0)
    counts = " + ".join(str(len(boxes)) for boxes, *_ in ours)
    return f"{counts} of {candidates} candidates, in the same order, within {BOX_TOLERANCE:g} px"
