"""Every operator once, on small inputs: `python -m tests.cuda.every_op` runs them on a GPU, for compute-sanitizer.

Sizes are odd, so that every kernel has a tail, and every layout and derivative has a call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from fastmrcnn import ops
from tests.ops.box_cases import DEGENERATE, clustered_boxes, random_boxes
from tests.ops.keypoint_cases import peaked_maps
from tests.ops.multiscale_cases import pool as pool_pyramid
from tests.ops.multiscale_cases import pyramid, rois_of_all_levels
from tests.ops.proposal_cases import random_heads
from tests.ops.roi_cases import random_features, random_rois

Call = tuple[Callable[..., Any], tuple[Any, ...]]  # a function of tensors, and its arguments on the CPU
SIZE = (37, 53)  # of the image that masks are pasted into


def calls() -> Iterator[tuple[str, Call]]:
    """Named calls whose results are tensors, or nested lists and tuples of them and of plain values."""
    yield from _of_boxes()
    for layout in ("contiguous", "channels_last"):
        yield from ((f"{name} {layout}", call) for name, call in _of_regions(layout))
    yield from _of_masks()


def _of_boxes() -> Iterator[tuple[str, Call]]:
    boxes, scores = torch.cat([clustered_boxes(120, 9), torch.tensor([*DEGENERATE.values()])]), torch.rand(133)
    groups, weights = torch.randint(5, (133,)), (10.0, 10.0, 5.0, 5.0)
    yield "nms", (lambda b, s: ops.nms(b, s, 0.5), (boxes, scores))
    yield "batched_nms", (lambda b, s, g: ops.batched_nms(b, s, g, 0.5), (boxes, scores, groups))
    yield "soft_nms", (ops.soft_nms, (boxes, scores))
    yield "decode_boxes", (lambda d, b: ops.decode_boxes(d, b, weights), (torch.randn(133, 12), boxes))
    yield "decode_keypoints", (ops.decode_keypoints, (peaked_maps(5, 3, 11, 9), random_boxes(5)))
    yield "assign_levels", (lambda b: ops.assign_levels(b, 2, 5, canonical_scale=20), (boxes,))
    yield "generate_anchors", (_anchors, (boxes,))
    yield "match_boxes", (_match, (clustered_boxes(7, 7), boxes, random_boxes(2)))
    heads = random_heads()
    for name, layout in (("", torch.contiguous_format), (" channels_last", torch.channels_last)):
        placed = heads.to(memory_format=layout)
        arguments = (placed.logits, placed.deltas, placed.anchors, torch.tensor(placed.sizes))
        yield f"generate_proposals{name}", (_propose, arguments)
    logits, deltas = 3 * torch.randn(2 * 40, 6), torch.randn(2 * 40, 24)
    arguments = (logits, deltas, random_boxes(80).view(2, 40, 4), torch.tensor([40, 33]), torch.tensor([SIZE, SIZE]))
    yield "select_detections", (ops.select_detections, arguments)


def _of_regions(layout: str) -> Iterator[tuple[str, Call]]:
    features, rois = random_features(2, 20, 13, 17, layout=layout), random_rois(9, 2, 17.0)
    maps, boxes = pyramid(channels=5, layout=layout), rois_of_all_levels(11)
    pooling: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "roi_align": lambda x, r: ops.roi_align(x, r, 7, 1.0, 2),
        "roi_align adaptive": lambda x, r: ops.roi_align(x, r, (3, 5), 1.0, 0, True),
        "roi_pool": lambda x, r: ops.roi_pool(x, r, (3, 5)),
        "ps_roi_align": lambda x, r: ops.ps_roi_align(x, r, 2, 1.0, 2),
        "ps_roi_pool": lambda x, r: ops.ps_roi_pool(x, r, 2),
    }
    for name, pool in pooling.items():
        yield name, (_with_gradient(pool), (features, rois))
        half = features.to(torch.bfloat16)
        yield f"{name} bfloat16", (_with_gradient(pool), (half, rois))
    yield "multiscale_roi_align", (_pool_pyramid, (*maps, boxes))


def _of_masks() -> Iterator[tuple[str, Call]]:
    masks, boxes = (
        torch.rand(9, 28, 28),
        torch.cat([random_boxes(7, 50.0), torch.tensor([[5.0, 5, 5, 9], [-9, -9, 90, 90]])]),
    )
    for method in ("exact", "torchvision"):
        yield (
            f"paste_masks {method}",
            (lambda m, b, rule=method: ops.paste_masks(m, b, SIZE, method=rule), (masks, boxes)),
        )
        yield (
            f"paste_masks_rle {method}",
            (lambda m, b, rule=method: ops.paste_masks_rle(m, b, SIZE, method=rule), (masks, boxes)),
        )
    bitmaps, matched = torch.rand(4, *SIZE) > 0.5, torch.randint(3, (9,))
    yield "crop_masks of bitmaps", (lambda m, b, i: ops.crop_masks(m, b, i, 14), (bitmaps, boxes, matched))
    star, square = [20.0, 1, 30, 30, 2, 12, 38, 12, 9, 31], [4.0, 4, 30, 4, 30, 30, 4, 30]
    runs = {"size": list(SIZE), "counts": [100, 300, 37, 400, SIZE[0] * SIZE[1] - 837]}
    objects = ops.InstanceMasks.from_coco([[star], [square, star], runs], *SIZE)
    yield "crop_masks of outlines", (lambda b, i: ops.crop_masks(objects, b, i, 14), (boxes, matched))


def _anchors(like: Tensor) -> list[Tensor]:
    return ops.generate_anchors(SIZE, [(5, 7)], [(8, 8)], [[16.0, 32.0]], [[0.5, 1.0, 2.0]], device=like.device)


def _match(objects: Tensor, boxes: Tensor, crowds: Tensor) -> Tensor:
    return ops.match_boxes(
        objects, boxes, foreground=0.7, background=0.3, every_object=True, ignore_regions=crowds, ignore_overlap=0.5
    )


def _propose(logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor], sizes: Tensor) -> tuple[Tensor, ...]:
    return ops.generate_proposals(logits, deltas, anchors, sizes, pre_nms=100, post_nms=60)


def _with_gradient(pool: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def run(features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        leaf = features.detach().requires_grad_()
        pooled = pool(leaf, rois)
        return pooled.detach(), torch.autograd.grad(pooled, leaf, torch.ones_like(pooled))[0]

    return run


def _pool_pyramid(*tensors: Tensor) -> tuple[Tensor, ...]:
    *maps, boxes = tensors
    leaves = [level.detach().requires_grad_() for level in maps]
    pooled = pool_pyramid(leaves, boxes)
    return pooled.detach(), *torch.autograd.grad(pooled, leaves, torch.ones_like(pooled))


if __name__ == "__main__":
    from tests.cuda.run import Gpu, assert_alike

    torch.manual_seed(0)
    for name, (function, arguments) in calls():
        assert_alike(Gpu().run(function, *arguments), function(*arguments))
        print(f"{name}: the CPU's result")
