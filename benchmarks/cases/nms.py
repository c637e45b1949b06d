"""Non-maximum suppression: hard, per class, and soft."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torchvision
from torch import Tensor

from benchmarks import peers
from benchmarks.case import Case, Contest, Goal, Work
from benchmarks.compare import close, identical, same_set
from benchmarks.workloads import Workload, generator
from fastmrcnn import ops

GOALS = {1000: Goal(ratio=20), 4000: Goal(ratio=40), 12000: Goal(ratio=45)}
# Of one pair of boxes: 4 minima and maxima, 2 differences, 2 clamps, a product, a sum and a difference of areas, a
# product with the threshold, a comparison. Each takes a fused multiply-add's place, hence the 2.
PAIR_FLOPS = 13 * 2
SIGMA, SOFT_IOU, SOFT_SCORE = 0.5, 0.3, 0.001


def cases(workload: Workload) -> Iterator[Case]:
    for kind in ("random", "clustered"):
        for count in workload.nms_boxes:
            for threshold in (0.5, 0.7):
                yield Case(
                    f"nms {count} {kind} {threshold}",
                    partial(_nms, workload, kind, count, threshold),
                    goal=GOALS.get(count, Goal()),
                    in_readme=threshold == 0.5 and (kind == "random" or count == 4000),
                )
    for count in workload.nms_boxes[1:2]:
        for kind in ("random", "clustered"):
            yield Case(
                f"batched_nms {count} {kind} {workload.classes} classes",
                partial(_batched_nms, workload, kind, count),
                in_readme=kind == "random",
            )
    for method in ("gaussian", "linear"):
        for count in workload.nms_boxes[:2]:
            yield Case(
                f"soft_nms {count} clustered {method}",
                partial(_soft_nms, workload, count, method),
                in_readme=method == "gaussian" and count == 1000,
            )


def pair_work(boxes: Tensor, kept_of_group: list[int], candidates: int) -> Work:
    """A kept box is tested against every better kept box of its group, a suppressed one against one at least; the
    boxes and scores are read once."""
    pairs = sum(kept * (kept - 1) // 2 for kept in kept_of_group) + candidates - sum(kept_of_group)
    return Work(reads=candidates * 5 * boxes.itemsize, writes=sum(kept_of_group) * 8, flops=pairs * PAIR_FLOPS)


def _boxes(workload: Workload, kind: str, count: int) -> tuple[Tensor, Tensor]:
    return (workload.random_boxes if kind == "random" else workload.clustered_boxes)(count)


def _nms(workload: Workload, kind: str, count: int, threshold: float) -> Contest:
    boxes, scores = _boxes(workload, kind, count)
    kept = len(torchvision.ops.nms(boxes, scores, threshold))
    return Contest(
        "torchvision",
        partial(torchvision.ops.nms, boxes, scores, threshold),
        partial(ops.nms, boxes, scores, threshold),
        identical,
        pair_work(boxes, [kept], count),
    )


def _batched_nms(workload: Workload, kind: str, count: int) -> Contest:
    boxes, scores = _boxes(workload, kind, count)
    classes = torch.randint(workload.classes, (count,), generator=generator()).to(boxes.device)
    kept = classes[torchvision.ops.batched_nms(boxes, scores, classes, 0.5)].bincount().tolist()
    return Contest(
        "torchvision",
        partial(torchvision.ops.batched_nms, boxes, scores, classes, 0.5),
        partial(ops.batched_nms, boxes, scores, classes, 0.5),
        same_set,
        pair_work(boxes, kept, count),
    )


def _soft_nms(workload: Workload, count: int, method: str) -> Contest:
    """torchvision has none; the peer is the paper's loop over the boxes, vectorised by torch."""
    boxes, scores = workload.clustered_boxes(count)
    theirs = partial(peers.soft_nms_loop, boxes, scores, SIGMA, SOFT_IOU, SOFT_SCORE, method)
    settings = {"sigma": SIGMA, "iou_threshold": SOFT_IOU, "score_threshold": SOFT_SCORE}
    kept = len(theirs()[0])

    def check(own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> str:
        return f"{identical(own[0], other[0])} indices, scores {close(own[1], other[1])}"

    # After each box that is kept, the scores of all that are left are lowered; a pair's factor (exponential or
    # comparison) costs no less than another operation.
    pairs = kept * count - kept * (kept + 1) // 2
    work = Work(reads=count * 5 * boxes.itemsize, writes=kept * 12, flops=pairs * (PAIR_FLOPS + 2))
    return Contest("torch loop", theirs, partial(ops.soft_nms, boxes, scores, method=method, **settings), check, work)
