"""Matching the anchors of one image to its objects, as the RPN's loss does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou as their_box_iou

from benchmarks.case import Case, Contest, Goal, Work
from benchmarks.cases.nms import PAIR_FLOPS
from benchmarks.cases.rpn import rpn_prediction
from benchmarks.compare import identical
from benchmarks.workloads import Workload
from fastmrcnn.ops import match_boxes

FOREGROUND, BACKGROUND = 0.7, 0.3


def cases(workload: Workload) -> Iterator[Case]:
    for count in workload.objects:
        yield Case(
            f"match anchors x {count} objects", partial(_contest, workload, count), goal=Goal(ratio=10), in_readme=True
        )


def _contest(workload: Workload, count: int) -> Contest:
    anchors = torch.cat(rpn_prediction(workload).anchors)  # [N, 4]
    objects = workload.log_uniform_boxes(count)  # [M, 4]
    matcher = Matcher(FOREGROUND, BACKGROUND, allow_low_quality_matches=True)

    def ours() -> Tensor:
        return match_boxes(objects, anchors, foreground=FOREGROUND, background=BACKGROUND, every_object=True)

    # Each anchor is read and its match written once, and each pair's IoU takes as much as a test of NMS. Ours
    # skips objects which lie far away, and can be faster than this limit.
    work = Work(reads=anchors.nbytes, writes=len(anchors) * 8, flops=len(anchors) * count * PAIR_FLOPS)
    return Contest("torchvision", lambda: matcher(their_box_iou(objects, anchors)), ours, identical, work)
