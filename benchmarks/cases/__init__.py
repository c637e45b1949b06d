"""The cases, one module a family. To add one: a module with `cases(workload)`, and its line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.case import Case
from benchmarks.cases import (
    augmentation,
    detections,
    keypoints,
    mask_targets,
    matching,
    multiscale,
    nms,
    overhead,
    paste,
    roi_align,
    roi_pool,
    rpn,
    training,
    whole_model,
)
from benchmarks.workloads import Workload

Family = Callable[[Workload], Iterator[Case]]

OPERATORS: dict[str, Family] = {
    "roi_align": roi_align.cases,
    "multiscale": multiscale.cases,
    "roi_pool": roi_pool.cases,
    "nms": nms.cases,
    "rpn": rpn.cases,
    "detections": detections.cases,
    "matching": matching.cases,
    "mask_targets": mask_targets.cases,
    "paste": paste.cases,
    "keypoints": keypoints.cases,
    "overhead": overhead.cases,
}
DATA: dict[str, Family] = {"augmentation": augmentation.cases}  # what the host does before the network
MODELS: dict[str, Family] = {"whole_model": whole_model.cases, "training": training.cases}  # minutes, not seconds
