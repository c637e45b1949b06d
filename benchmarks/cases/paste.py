"""Pasting 28 x 28 masks into the photograph: to bitmaps, and straight to COCO run lengths."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.case import Case, Contest, Goal, Work
from benchmarks.compare import identical
from benchmarks.workloads import Workload
from fastmrcnn import ops

Method = Literal["torchvision", "exact"]
THRESHOLD = 0.5
UNDECIDED = 1e-4  # a value this close to the threshold may fall on either side


def cases(workload: Workload) -> Iterator[Case]:
    for method in ("torchvision", "exact"):
        yield Case(
            f"paste {workload.instances} masks to bool, method {method}",
            partial(_to_bool, workload, method),
            goal=Goal(ratio=28, fraction=0.95),
            in_readme=True,
        )
    for method in ("torchvision", "exact"):
        yield Case(
            f"paste {workload.instances} masks to RLE, method {method}",
            partial(_to_rle, workload, method),
            goal=Goal(ratio=200),
            in_readme=method == "exact",
        )


def _to_bool(workload: Workload, method: Method) -> Contest:
    """The peer of both methods is torchvision's paste; the exact one's pixels are compared with torch's grid_sample."""
    masks, boxes, size = _inputs(workload)

    def check_on_grid(ours: Tensor, _: Tensor) -> str:
        for pasted, mask, box in zip(ours, masks, boxes, strict=True):
            value = peers.sample_on_grid(mask, box, size)
            decided = (value - THRESHOLD).abs() > UNDECIDED
            assert torch.equal(pasted & decided, (value >= THRESHOLD) & decided), "pixels differ"
        return f"identical to grid_sample's but for values within {UNDECIDED:g} of the threshold"

    return Contest(
        "torchvision",
        partial(peers.paste_to_bool, masks, boxes, size),
        partial(ops.paste_masks, masks, boxes, size, method=method),
        check_on_grid if method == "exact" else identical,
        # The bitmaps, written once. Pages fresh from the operating system cost more than that, zero pages that no mask
        # touches cost less.
        Work(reads=masks.nbytes, writes=len(masks) * size[0] * size[1]),
    )


def _to_rle(workload: Workload, method: Method) -> Contest:
    """The peer of both methods is torchvision's paste and an encoding of its bitmaps; the exact strings are compared
    with the encoding of the exact bitmaps."""
    masks, boxes, size = _inputs(workload)

    def encoded() -> list[str]:
        return peers.encode_bitmaps(peers.paste_to_bool(masks, boxes, size))

    def check(ours: list[ops.RLE], theirs: list[str]) -> str:
        if method == "exact":
            theirs = peers.encode_bitmaps(ops.paste_masks(masks, boxes, size, method="exact"))
        return identical([entry["counts"] for entry in ours], theirs) + " strings"

    return Contest(
        f"torchvision + {peers.ENCODER}",
        encoded,
        partial(ops.paste_masks_rle, masks, boxes, size, method=method),
        check,
    )


def _inputs(workload: Workload) -> tuple[Tensor, Tensor, tuple[int, int]]:
    count = workload.instances
    return workload.mask_probabilities(count), workload.log_uniform_boxes(count), workload.photograph
