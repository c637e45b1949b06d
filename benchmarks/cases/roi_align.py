"""RoIAlign on one map: P3, the level that most box sizes of COCO go to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torchvision
from torch import Tensor

from benchmarks.case import Case, Contest, Goal, Work
from benchmarks.cases.gradients import backward
from benchmarks.compare import close
from benchmarks.pixels import Touched, sampled_pixels
from benchmarks.workloads import DTYPES, LAYOUTS, Workload
from fastmrcnn import ops

STRIDE = 8


@dataclass(frozen=True)
class Setting:
    label: str
    bins: int
    sampling: int
    aligned: bool = False


BOX_HEAD = Setting("7x7 s=2", 7, 2)
MASK_HEAD = Setting("14x14 s=2", 14, 2)
DETECTRON2 = Setting("7x7 adaptive aligned", 7, 0, aligned=True)


def cases(workload: Workload) -> Iterator[Case]:
    for layout in LAYOUTS:
        for setting, dtypes in (
            (BOX_HEAD, DTYPES),
            (DETECTRON2, ("float32", "bfloat16")),
            (MASK_HEAD, ("float32",)),
        ):
            for dtype in dtypes:
                yield Case(
                    f"roi_align {setting.label}",
                    partial(_forward, workload, setting, dtype, layout),
                    dtype,
                    layout,
                    forward_goal(dtype, layout),
                    in_readme=setting is not MASK_HEAD and dtype == "float32",
                )
        for dtype in ("float32", "bfloat16"):
            yield Case(
                f"roi_align backward {BOX_HEAD.label}",
                partial(_backward, workload, BOX_HEAD, dtype, layout),
                dtype,
                layout,
                Goal(ratio=35),
            )


def forward_goal(dtype: str, layout: str) -> Goal:
    """performance.md sets one for NCHW of any dtype, and for channels-last in float32 and bfloat16."""
    if layout == "NCHW":
        return Goal(ratio=10)
    return {"float32": Goal(ratio=15), "bfloat16": Goal(ratio=22)}.get(dtype, Goal())


def peer_of(feature: Tensor) -> tuple[str, Tensor]:
    """The peer's name and its input: torchvision's float32 stands for half precision, too.

    It has no bfloat16 on CPUs, and its float16 takes more than ten times as long as its float32 and sums in half.
    """
    half = feature.dtype in (torch.bfloat16, torch.float16)
    return ("torchvision float32", feature.float()) if half else ("torchvision", feature)


def forward_work(touched: list[Touched], channels: int, itemsize: int, outputs: int) -> Work:
    """The pixels that any region touches come from memory once, and each region gathers its own ones; at 7x7 bins of
    2x2 samples some 290 pixels a region. Arithmetic is below both: 2 flops for each of a bin's taps, which merge.
    """
    pixel = channels * itemsize  # bytes
    return Work(
        reads=sum(level.union for level in touched) * pixel,
        gathers=sum(level.distinct for level in touched) * pixel,
        writes=outputs * itemsize,
    )


def backward_work(touched: list[Touched], channels: int, itemsize: int, outputs: int, cells: int) -> Work:
    """The output's gradient is read once, the maps' (`cells` pixels) is written whole, zeros included; each region
    adds to its pixels, which reads and writes them."""
    pixel = channels * itemsize
    return Work(
        reads=outputs * itemsize,
        gathers=2 * sum(level.distinct for level in touched) * pixel,
        writes=cells * pixel,
    )


def _forward(workload: Workload, setting: Setting, dtype: str, layout: str) -> Contest:
    rois = _rois(workload, setting)
    feature = workload.feature_map(STRIDE, DTYPES[dtype], layout)
    name, theirs = peer_of(feature)
    rois = rois.to(theirs.dtype)  # float32 with half-precision features, which ours takes as they are
    outputs = len(rois) * workload.channels * setting.bins**2
    return Contest(
        name,
        partial(_pool, torchvision.ops, theirs, rois, setting),
        partial(_pool, ops, feature, rois, setting),
        close,
        forward_work([_touched(rois, feature, setting)], workload.channels, feature.itemsize, outputs),
    )


def _backward(workload: Workload, setting: Setting, dtype: str, layout: str) -> Contest:
    rois = _rois(workload, setting)
    feature = workload.feature_map(STRIDE, DTYPES[dtype], layout)
    name, theirs = peer_of(feature)
    outputs = len(rois) * workload.channels * setting.bins**2
    cells = feature.shape[2] * feature.shape[3]
    return Contest(
        name,
        backward(lambda maps: _pool(torchvision.ops, maps[0], rois, setting), [theirs]),
        backward(lambda maps: _pool(ops, maps[0], rois, setting), [feature]),
        close,
        backward_work([_touched(rois, feature, setting)], workload.channels, feature.itemsize, outputs, cells),
    )


def _rois(workload: Workload, setting: Setting) -> Tensor:
    return workload.rois(workload.mask_rois if setting is MASK_HEAD else workload.level_rois)


def _pool(module: object, feature: Tensor, rois: Tensor, setting: Setting) -> Tensor:
    return module.roi_align(feature, rois, setting.bins, 1 / STRIDE, setting.sampling, setting.aligned)


def _touched(rois: Tensor, feature: Tensor, setting: Setting) -> Touched:
    size = (feature.shape[2], feature.shape[3])
    return sampled_pixels(rois[:, 1:], 1 / STRIDE, setting.bins, setting.sampling, setting.aligned, size)
