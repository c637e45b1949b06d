"""Matching the anchors of one image to its objects, as the RPN's loss does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from benchmarks.case import Case, Contest, Goal, Work
from benchmarks.cases.nms import PAIR_FLOPS
from benchmarks.cases.rpn import level_anchors
from benchmarks.compare import identical
from benchmarks.workloads import Workload
from fastmrcnn import ops

FOREGROUND, BACKGROUND = 0.7, 0.3


def cases(workload: Workload) -> Iterator[Case]:
    for count in workload.objects:
        yield Case(
            f"match anchors x {count} objects", partial(_contest, workload, count), goal=Goal(ratio=10), in_readme=True
        )


def _contest(workload: Workload, count: int) -> Contest:
    anchors = torch.cat(level_anchors(workload))  # [N, 4]
    objects = workload.log_uniform_boxes(count)  # [M, 4]
    matcher = Matcher(FOREGROUND, BACKGROUND, allow_low_quality_matches=True)
    # Each anchor is read and its match written once; objects that lie far away may be skipped, but the IoU of a pair
    # that overlaps takes as much as a test of NMS.
    overlapping = sum(int((box_iou(box[None], anchors) > 0).sum()) for box in objects)
    work = Work(reads=anchors.nbytes, writes=len(anchors) * 8, flops=overlapping * PAIR_FLOPS)
    return Contest(
        "torchvision",
        lambda: matcher(box_iou(objects, anchors)),
        partial(ops.match_boxes, objects, anchors, foreground=FOREGROUND, background=BACKGROUND, every_object=True),
        identical,
        work,
    )
