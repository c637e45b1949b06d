"""RoIPool, the quantised pooling of Fast R-CNN, on P3."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torchvision
from torch import Tensor

from benchmarks.case import Case, Contest, Work
from benchmarks.cases.gradients import backward
from benchmarks.cases.roi_align import STRIDE, backward_work, forward_work, peer_of
from benchmarks.compare import close, identical
from benchmarks.pixels import quantised_pixels
from benchmarks.workloads import DTYPES, LAYOUTS, Workload
from fastmrcnn import ops

BINS = 7


def cases(workload: Workload) -> Iterator[Case]:
    for layout in LAYOUTS:
        for dtype in ("float32", "bfloat16"):
            prepare = partial(_contest, workload, dtype, layout, differentiate=False)
            yield Case("roi_pool 7x7", prepare, dtype, layout, in_readme=dtype == "float32" and layout == "NHWC")
        prepare = partial(_contest, workload, "float32", layout, differentiate=True)
        yield Case("roi_pool backward 7x7", prepare, "float32", layout)


def _contest(workload: Workload, dtype: str, layout: str, *, differentiate: bool) -> Contest:
    rois = workload.rois(workload.level_rois)
    feature = workload.feature_map(STRIDE, DTYPES[dtype], layout)
    name, theirs = peer_of(feature)
    work = _work(workload, rois, feature, differentiate=differentiate)
    if differentiate:
        functions = (
            backward(lambda maps: torchvision.ops.roi_pool(maps[0], rois, BINS, 1 / STRIDE), [theirs]),
            backward(lambda maps: ops.roi_pool(maps[0], rois, BINS, 1 / STRIDE), [feature]),
        )
        return Contest(name, *functions, close, work)
    return Contest(
        name,
        partial(torchvision.ops.roi_pool, theirs, rois, BINS, 1 / STRIDE),
        partial(ops.roi_pool, feature, rois, BINS, 1 / STRIDE),
        lambda own, other: identical(own.to(other.dtype), other),  # a maximum is not rounded
        work,
    )


def _work(workload: Workload, rois: Tensor, feature: Tensor, *, differentiate: bool) -> Work:
    """As RoIAlign's, but that every pixel of a region counts, and that a gradient goes to one pixel a bin."""
    size = (feature.shape[2], feature.shape[3])
    touched = quantised_pixels(rois[:, 1:], 1 / STRIDE, size)
    outputs = len(rois) * workload.channels * BINS**2
    if not differentiate:
        return forward_work([touched], workload.channels, feature.itemsize, outputs)
    whole = backward_work([touched], workload.channels, feature.itemsize, outputs, size[0] * size[1])
    arg_max = 8 * outputs  # bytes: an int64 a bin says which pixel
    return Work(reads=whole.reads + arg_max, gathers=2 * outputs * feature.itemsize, writes=whole.writes)
