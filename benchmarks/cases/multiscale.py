"""RoIAlign over the pyramid, as the box and mask heads call it: levels assigned, all maps pooled from, in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torchvision
from torch import Tensor

from benchmarks.case import Case, Contest, Goal
from benchmarks.cases.gradients import backward
from benchmarks.cases.roi_align import (
    BOX_HEAD,
    DETECTRON2,
    MASK_HEAD,
    Setting,
    backward_work,
    forward_goal,
    forward_work,
    peer_of,
)
from benchmarks.compare import close
from benchmarks.peers import pool_level_by_level
from benchmarks.pixels import Touched, sampled_pixels
from benchmarks.workloads import DTYPES, LAYOUTS, LEVELS, SEED, Workload
from fastmrcnn import ops

NAMES = [f"p{level}" for level in LEVELS]


def cases(workload: Workload) -> Iterator[Case]:
    for layout in LAYOUTS:
        for head, setting, dtypes in (
            ("box head", BOX_HEAD, DTYPES),
            ("mask head", MASK_HEAD, ("float32", "bfloat16")),
            ("box head", DETECTRON2, ("float32",)),
        ):
            for dtype in dtypes:
                yield Case(
                    f"{head} P2..P5 {setting.label}",
                    partial(_forward, workload, setting, dtype, layout),
                    dtype,
                    layout,
                    forward_goal(dtype, layout),
                    in_readme=setting is BOX_HEAD and dtype in ("float32", "bfloat16"),
                )
        for dtype in ("float32", "bfloat16"):
            yield Case(
                f"box head P2..P5 backward {BOX_HEAD.label}",
                partial(_backward, workload, BOX_HEAD, dtype, layout),
                dtype,
                layout,
                Goal(ratio=35),
                in_readme=dtype == "float32",
            )


def _forward(workload: Workload, setting: Setting, dtype: str, layout: str) -> Contest:
    boxes = _boxes(workload, setting)
    maps = workload.pyramid(DTYPES[dtype], layout)
    [name, *_], theirs = zip(*map(peer_of, maps), strict=True)
    boxes = [one.to(theirs[0].dtype) for one in boxes]
    outputs = sum(map(len, boxes)) * workload.channels * setting.bins**2
    return Contest(
        "torchvision level by level" if setting.aligned else name,
        partial(_theirs, workload, theirs, boxes, setting),
        partial(_ours, workload, maps, boxes, setting),
        close,
        forward_work(_touched(boxes, maps, setting), workload.channels, maps[0].itemsize, outputs),
    )


def _backward(workload: Workload, setting: Setting, dtype: str, layout: str) -> Contest:
    boxes = _boxes(workload, setting)
    maps = workload.pyramid(DTYPES[dtype], layout)
    [name, *_], theirs = zip(*map(peer_of, maps), strict=True)
    outputs = sum(map(len, boxes)) * workload.channels * setting.bins**2
    cells = sum(feature.shape[0] * feature.shape[2] * feature.shape[3] for feature in maps)

    def all_close(own: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> str:
        return {close(mine, expected) for mine, expected in zip(own, other, strict=True)}.pop()

    return Contest(
        name,
        backward(lambda leaves: _theirs(workload, leaves, boxes, setting), theirs),
        backward(lambda leaves: _ours(workload, leaves, boxes, setting), maps),
        all_close,
        backward_work(_touched(boxes, maps, setting), workload.channels, maps[0].itemsize, outputs, cells),
    )


def _boxes(workload: Workload, setting: Setting) -> list[Tensor]:
    """Those of each image."""
    count = workload.mask_rois if setting is MASK_HEAD else workload.box_rois
    return [workload.log_uniform_boxes(count, seed=SEED + image) for image in range(workload.images)]


def _ours(workload: Workload, maps: Sequence[Tensor], boxes: list[Tensor], setting: Setting) -> Tensor:
    pool = ops.MultiScaleRoIAlign(NAMES, setting.bins, setting.sampling, aligned=setting.aligned)
    return pool(dict(zip(NAMES, maps, strict=True)), boxes, [workload.image] * workload.images)


def _theirs(workload: Workload, maps: Sequence[Tensor], boxes: list[Tensor], setting: Setting) -> Tensor:
    if setting.aligned:  # which torchvision's own pooler never is
        return pool_level_by_level(maps, boxes, setting.bins, setting.sampling, aligned=True)
    pool = torchvision.ops.MultiScaleRoIAlign(NAMES, setting.bins, setting.sampling)
    return pool(dict(zip(NAMES, maps, strict=True)), boxes, [workload.image] * workload.images)


def _touched(boxes: list[Tensor], maps: list[Tensor], setting: Setting) -> list[Touched]:
    return [level for one in boxes for level in _touched_in_image(one, maps, setting)]


def _touched_in_image(boxes: Tensor, maps: list[Tensor], setting: Setting) -> list[Touched]:
    level_of = ops.assign_levels(boxes, LEVELS[0], LEVELS[-1])
    return [
        sampled_pixels(
            boxes[level_of == level],
            2.0**-level,
            setting.bins,
            setting.sampling,
            setting.aligned,
            (feature.shape[2], feature.shape[3]),
        )
        for level, feature in zip(LEVELS, maps, strict=True)
    ]
