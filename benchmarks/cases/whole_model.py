"""Mask R-CNN R50-FPN as a whole: one photograph through the network.

Both sides have the same random weights, standardised as the parity tests have them so that scores vary: then about 1000
proposals and 100 detections come out, as from trained weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import roi_heads as their_roi_heads
from torchvision.models.detection import transform as their_transform
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.rpn import RegionProposalNetwork as TheirRPN
from torchvision.ops import MultiScaleRoIAlign as TheirPooler

from benchmarks.case import Case, Contest, Goal, Work
from benchmarks.stages import Place, WithShare
from benchmarks.workloads import LAYOUTS, Workload
from fastmrcnn import optimize
from fastmrcnn.deployment.precision import cpu_bfloat16
from fastmrcnn.models import MaskRCNN, box_head, roi_heads
from fastmrcnn.models.rpn import RegionProposalNetwork
from fastmrcnn.ops import box_iou
from fastmrcnn.structures import Detections, detections
from fastmrcnn.weights import from_torchvision
from tests.models.peer import make_peer, noise_images

CLASSES = 91  # COCO's, and the background

# What stands between the network's layers, on either side.
THEIR_OPERATORS: list[Place] = [
    (BoxCoder, "decode"),
    (TheirRPN, "filter_proposals"),
    (TheirPooler, "forward"),
    (their_roi_heads.RoIHeads, "postprocess_detections"),
    (their_transform, "paste_masks_in_image"),
]
OUR_OPERATORS: list[Place] = [
    (RegionProposalNetwork, "propose"),
    (roi_heads, "pool_regions"),
    (box_head.BoxHead, "detect"),
    (detections, "paste_masks"),
]


LEAST_PARTNERS = 0.9  # of the detections in bfloat16: many scores of noise lie at the edge of the list
LEAST_IOU = 0.5


def cases(workload: Workload) -> Iterator[Case]:
    height, width = workload.photograph
    for layout in LAYOUTS:  # the preset of torchvision's numbers is NCHW; every other preset takes channels-last
        yield Case(
            f"R50-FPN inference {height}x{width}",
            partial(_inference, workload, layout),
            layout=layout,
            goal=Goal(operators_share=0.05),
            in_readme=True,
            least_rounds=2,
        )
    ratios = {"float32": 1.8} | ({"bfloat16": 6.5} if cpu_bfloat16() else {})  # what is emulated says nothing
    for dtype, ratio in ratios.items():
        yield Case(
            f"R50-FPN inference {height}x{width}, optimised",
            partial(_inference, workload, "NHWC", optimised=dtype),
            dtype,
            "NHWC",
            goal=Goal(ratio=ratio, operators_share=0.05),
            in_readme=True,
            least_rounds=2,
        )


def _inference(workload: Workload, layout: str, *, optimised: str | None = None) -> Contest:
    """Of the plain model, or of :func:`fastmrcnn.optimize` in a precision."""
    theirs = their_model(workload, workload.photograph).eval()
    model = our_model(theirs, workload, workload.photograph, layout).eval()
    images = noise_images(workload.photograph)
    if optimised is not None:
        model = optimize(model, precision=optimised, sample=images[0])

    @torch.no_grad()
    def detect_theirs() -> dict[str, Tensor]:
        return theirs(images)[0]

    @torch.no_grad()
    def detect_ours() -> tuple[Detections, Tensor]:
        [found] = model(images)
        return found, found.masks  # pasted when asked for; the peer's model always does

    peer, ours = WithShare(THEIR_OPERATORS, detect_theirs), WithShare(OUR_OPERATORS, detect_ours)
    # What the convolutions need, which Winograd's filtering undercuts.
    work = Work(flops=count_flops(detect_ours)) if optimised is None else None
    check = same_detections if optimised in (None, "float32") else similar_detections
    name = "torchvision" if check is same_detections else "torchvision float32"
    return Contest(name, peer, ours, check, work, lambda: (peer.share, ours.share))


def same_detections(ours: tuple[Detections, Tensor], theirs: dict[str, Tensor]) -> str:
    """Convolutions round in another order in another layout, so a score at the edge of the list, or an IoU at the
    threshold of NMS, may fall on the other side: a detection in fifty may have no twin."""
    found, masks = ours
    expected = len(theirs["boxes"])
    assert len(found.boxes) == expected, f"{len(found.boxes)} detections against {expected}"
    twins = 0
    for index, (box, label) in enumerate(zip(theirs["boxes"], theirs["labels"] - 1, strict=True)):
        near = ((found.boxes - box).abs().amax(dim=1) < 0.05) & (found.labels == label)
        same = [other for other in near.nonzero().flatten().tolist() if _same_mask(masks[other], theirs, index)]
        twins += bool(same)
    assert twins >= 0.98 * expected, f"{twins} of {expected} detections have a twin"
    return f"{twins} of {expected} detections within 0.05 px, same class, same mask but for 1 pixel in 1000"


def similar_detections(ours: tuple[Detections, Tensor], theirs: dict[str, Tensor]) -> str:
    """In bfloat16, which tells 256 numbers between 1 and 2 apart."""
    found, expected = ours[0], theirs["boxes"]
    same_class = found.labels[:, None] == theirs["labels"] - 1
    partners = int(((box_iou(found.boxes, expected) > LEAST_IOU) & same_class).any(dim=0).sum())
    assert partners >= LEAST_PARTNERS * len(expected), f"{partners} of {len(expected)} detections have a partner"
    return f"{partners} of {len(expected)} detections have a partner of IoU {LEAST_IOU}"


def _same_mask(bitmap: Tensor, theirs: dict[str, Tensor], index: int) -> bool:
    expected = theirs["masks"][index, 0] > 0.5
    return int((bitmap != expected).sum()) <= 1e-3 * max(int(expected.sum()), 1000)


@cache
def standardised() -> Any:
    return make_peer(frozen_norm=True, num_classes=CLASSES)


def their_model(workload: Workload, size: tuple[int, int]) -> Any:
    """torchvision's network, for images that already have `size`; the last caller's size counts."""
    model = standardised()
    model.transform.min_size, model.transform.max_size = (min(size),), max(size)
    model.rpn._post_nms_top_n["testing"] = workload.candidates
    model.roi_heads.detections_per_img = workload.instances
    model.roi_heads.fg_bg_sampler.batch_size_per_image = workload.samples
    return model


def our_model(theirs: Any, workload: Workload, size: tuple[int, int], layout: str) -> MaskRCNN:
    """The same network with the same weights and limits."""
    loaded = from_torchvision(theirs.state_dict())
    config = loaded.config
    config = dataclasses.replace(
        config,
        input=dataclasses.replace(config.input, min_size=min(size), max_size=max(size)),
        rpn=dataclasses.replace(config.rpn, post_nms_test=workload.candidates),
        box_head=dataclasses.replace(config.box_head, detections=workload.instances, samples=workload.samples),
        channels_last=layout == "NHWC",
    )
    model = MaskRCNN(config)
    model.load_state_dict(loaded.state_dict())
    return model


def count_flops(function: Callable[[], Any]) -> int:
    """Of the convolutions and matrix products of one call; a multiply-add counts two."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()
