"""Everything in the table of torchvision's operators is here under the same name, with the same parameters."""

from __future__ import annotations

import inspect

import pytest

from fastmrcnn import ops

peer = pytest.importorskip("torchvision", reason="the peer to compare with is not installed").ops

NAMES = [
    "FeaturePyramidNetwork",
    "FrozenBatchNorm2d",
    "MultiScaleRoIAlign",
    "PSRoIAlign",
    "PSRoIPool",
    "RoIAlign",
    "RoIPool",
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "complete_box_iou",
    "distance_box_iou",
    "generalized_box_iou",
    "masks_to_boxes",
    "nms",
    "ps_roi_align",
    "ps_roi_pool",
    "remove_small_boxes",
    "roi_align",
    "roi_pool",
]


def required_and_defaults(function: object) -> list[tuple[str, object]]:
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return [(parameter.name, parameter.default) for parameter in parameters]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_match(name: str) -> None:
    """Ours may add keyword-only parameters at the end."""
    theirs = required_and_defaults(getattr(peer, name))
    ours = required_and_defaults(getattr(ops, name))
    assert ours[: len(theirs)] == theirs
    extra = list(inspect.signature(getattr(ops, name)).parameters.values())[len(theirs) :]
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in extra)
    assert name in ops.__all__
