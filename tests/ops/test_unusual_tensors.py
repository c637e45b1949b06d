"""Tensors whose memory does not hold their values, and derivatives that do not exist: never a wrong number."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from fastmrcnn.ops import (
    assign_levels,
    decode_boxes,
    decode_keypoints,
    encode_boxes,
    generate_proposals,
    match_boxes,
    multiscale_roi_align,
    nms,
    paste_masks,
    paste_masks_rle,
    ps_roi_align,
    ps_roi_pool,
    roi_align,
    roi_pool,
    select_detections,
    soft_nms,
)
from tests.ops.box_cases import clustered_boxes
from tests.ops.detection_cases import random_head
from tests.ops.proposal_cases import random_heads
from tests.ops.roi_cases import random_features, random_rois

# torch's forward mode compiles its own formulas by what torch itself has deprecated.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

Call = Callable[..., object]
Case = tuple[Call, tuple[Tensor, ...]]


def cases() -> dict[str, Case]:
    torch.manual_seed(0)
    boxes, scores, masks = clustered_boxes(20, 4), torch.rand(20), torch.rand(20, 7, 7)
    pooled = random_features(2, 8, 9, 9), random_rois(5, 2, 9.0)
    heads, head = random_heads(1, ((12, 17),)), random_head(1)
    return {
        "nms": (lambda b, s: nms(b, s, 0.5), (boxes, scores)),
        "match_boxes": (lambda m, b: match_boxes(m, b, foreground=0.5, background=0.5), (boxes[:3] + 1, boxes)),
        "soft_nms": (lambda b, s: soft_nms(b, s)[1], (boxes, scores)),
        "decode_boxes": (decode_boxes, (torch.randn(20, 8), boxes)),
        "decode_keypoints": (decode_keypoints, (torch.randn(20, 3, 7, 7), boxes)),
        "encode_boxes": (encode_boxes, (boxes, boxes + torch.tensor([0.0, 0, 1, 2]))),
        "assign_levels": (lambda b: assign_levels(b, 2, 5, canonical_scale=20), (boxes,)),
        "multiscale_roi_align": (
            lambda x, y, rois: multiscale_roi_align([x, y], rois, 2, [1, 1 / 2], canonical_scale=4, canonical_level=1),
            (pooled[0], random_features(2, 8, 5, 5), pooled[1]),
        ),
        "generate_proposals": (
            lambda x, y, anchors: generate_proposals([x], [y], [anchors], heads.sizes).boxes,
            (heads.logits[0], heads.deltas[0], heads.anchors[0]),
        ),
        "select_detections": (
            lambda x, y, proposals: select_detections(x, y, proposals, None, head.sizes).boxes,
            (head.logits, head.deltas, head.proposals),
        ),
        "paste_masks": (lambda m, b: paste_masks(m, b, (30, 40)), (masks, boxes)),
        "paste_masks_rle": (lambda m, b: paste_masks_rle(m, b, (30, 40)), (masks, boxes)),
        **{
            pool.__name__: (lambda x, rois, pool=pool: pool(x, rois, 2), pooled)
            for pool in (roi_align, roi_pool, ps_roi_align, ps_roi_pool)
        },
    }


def negated_view(tensor: Tensor) -> Tensor:
    """Equal to `tensor`; its memory holds the opposite, as that of `z.conj().imag` does."""
    view = torch._neg_view(-tensor)
    assert view.is_neg()
    return view


@pytest.mark.parametrize("name", cases())
def test_negated_views_give_the_values_that_they_show(name: str) -> None:
    call, tensors = cases()[name]
    expected, found = call(*tensors), call(*map(negated_view, tensors))
    if isinstance(expected, Tensor):
        # decode_boxes' formula and its kernel differ in the last bit.
        torch.testing.assert_close(found, expected, equal_nan=True)
    else:
        assert found == expected


@pytest.mark.parametrize("name", sorted(cases().keys() - {"nms", "paste_masks_rle", "soft_nms"}))
def test_meta_tensors_give_shapes(name: str) -> None:
    call, tensors = cases()[name]
    expected, found = call(*tensors), call(*(tensor.to("meta") for tensor in tensors))
    assert isinstance(found, Tensor)
    assert isinstance(expected, Tensor)
    assert found.is_meta
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype


@forward_mode
@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"])
def test_forward_mode_is_refused_where_it_would_be_dropped(name: str) -> None:
    call, (features, rois) = cases()[name]
    message = f"^{name}: has no forward-mode derivative; use reverse mode"
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match=message):
        call(forward_ad.make_dual(features, features), rois)
    with pytest.raises(NotImplementedError, match=message):
        torch.func.jvp(lambda x: call(x, rois), (features,), (features,))


@forward_mode
def test_forward_mode_of_decoding_is_that_of_the_formula() -> None:
    _, (deltas, boxes) = cases()["decode_boxes"]
    direction = torch.randn_like(deltas)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(decode_boxes(forward_ad.make_dual(deltas, direction), boxes)).tangent
    step = 1e-4
    moved = decode_boxes((deltas.double() + step * direction.double()), boxes.double())
    assert tangent is not None
    torch.testing.assert_close(
        tangent.double(), (moved - decode_boxes(deltas.double(), boxes.double())) / step, rtol=1e-2, atol=1e-2
    )
