"""MultiScaleRoIAlign against its single-level form and torchvision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import MultiScaleRoIAlign, assign_levels, roi_align
from tests.ops.roi_cases import is_channels_last, random_features

NAMES = ["p2", "p3", "p4", "p5"]


def pyramid(images: int = 2, size: tuple[int, int] = (128, 192), layout: str = "contiguous") -> dict[str, Tensor]:
    """P2 to P6 of 3 channels."""
    return {
        f"p{level}": random_features(images, 3, size[0] >> level, size[1] >> level, layout=layout)
        for level in range(2, 7)
    }


def boxes_of_all_sizes(count: int) -> Tensor:
    sides = torch.exp(math.log(8) + math.log(100) * torch.rand(count, 1)) * torch.exp(0.3 * torch.randn(count, 2))
    corner = torch.rand(count, 2) * 150 - 20
    return torch.cat([corner, corner + sides], dim=1)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("aligned", [False, True])
def test_each_box_is_pooled_from_its_level(layout: str, aligned: bool) -> None:
    features, boxes = pyramid(layout=layout), [boxes_of_all_sizes(30), boxes_of_all_sizes(20)]
    pool = MultiScaleRoIAlign(NAMES, (3, 4), 2, aligned=aligned)
    pooled = pool(features, boxes, [(128, 180), (120, 192)])
    assert is_channels_last(pooled) == (layout == "channels_last")
    assert not list(pool.parameters())
    assert not vars(pool)["_buffers"]
    row = 0
    for image, of_image in enumerate(boxes):
        for box, level in zip(of_image, assign_levels(of_image, 2, 5).tolist(), strict=True):
            roi = torch.cat([torch.tensor([float(image)]), box])[None]
            expected = roi_align(features[f"p{level}"], roi, (3, 4), 2.0**-level, 2, aligned)
            torch.testing.assert_close(pooled[row : row + 1], expected)
            row += 1


def test_nothing_is_remembered_between_calls() -> None:
    pool, box = MultiScaleRoIAlign(NAMES, 2, 2), [torch.tensor([[8.0, 8, 60, 60]])]
    small, large = pyramid(1, (64, 64)), pyramid(1, (256, 256))
    first = pool(small, box, [(64, 64)])
    state = dict(vars(pool))
    pool(large, box, [(256, 256)])
    pool(large, box, [(512, 512)])  # the same maps of a larger image: half the scale
    assert vars(pool) == state
    assert torch.equal(pool(small, box, [(64, 64)]), first)


def test_one_level_needs_no_assignment() -> None:
    features, boxes = pyramid(1), [boxes_of_all_sizes(10)]
    pooled = MultiScaleRoIAlign(["p4"], 2, 2)(features, boxes, [(128, 192)])
    assert torch.equal(pooled, roi_align(features["p4"], boxes, 2, 1 / 16, 2))


def test_a_pyramid_with_gaps_pools_every_box() -> None:
    features = pyramid(1, (512, 512))
    chosen = {name: torch.ones_like(features[name]) for name in ("p2", "p5")}
    boxes = [torch.tensor([[9.0, 9, 19, 19], [9, 9, 200, 200], [9, 9, 500, 500]])]
    assert torch.equal(MultiScaleRoIAlign(["p2", "p5"], 2, 2)(chosen, boxes, [(512, 512)]), torch.ones(3, 3, 2, 2))


def test_without_boxes() -> None:
    features = {name: feature.requires_grad_() for name, feature in pyramid().items()}
    pooled = MultiScaleRoIAlign(NAMES, 7, 2)(features, [torch.zeros(0, 4), torch.zeros(0, 4)], [(128, 192)] * 2)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()


def test_half_features_and_float_boxes() -> None:
    features = {name: feature.bfloat16() for name, feature in pyramid(1).items()}
    assert MultiScaleRoIAlign(NAMES, 7, 2)(features, [boxes_of_all_sizes(9)], [(128, 192)]).dtype == torch.bfloat16


def test_errors() -> None:
    features, boxes = pyramid(1), [torch.zeros(1, 4)]
    with pytest.raises(ValueError, match=r"^MultiScaleRoIAlign: none of \['x'\] is among the features \['p2', 'p3', "):
        MultiScaleRoIAlign(["x"], 7, 2)(features, boxes, [(128, 192)])
    reverse = dict(reversed(features.items()))
    with pytest.raises(ValueError, match=r"features must go from fine to coarse; got levels \[5, 4, 3, 2\]$"):
        MultiScaleRoIAlign(NAMES, 7, 2)(reverse, boxes, [(128, 192)])
    for maps, shapes in ((features, []), (features, [(0, 0)]), ({"p2": torch.zeros(1, 3, 0, 5)}, [(128, 192)])):
        with pytest.raises(ValueError, match=r"^MultiScaleRoIAlign: image_shapes and features must have heights, "):
            MultiScaleRoIAlign(NAMES, 7, 2)(maps, boxes, shapes)
    with pytest.raises(ValueError, match=r"^MultiScaleRoIAlign: boxes\[0\] must be \[L, 4\]; got \[1, 5\]$"):
        MultiScaleRoIAlign(NAMES, 7, 2)(features, [torch.zeros(1, 5)], [(128, 192)])


def test_equals_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision", reason="the peer is not installed")
    features = {name: feature.requires_grad_() for name, feature in pyramid().items()}
    boxes, shapes = [boxes_of_all_sizes(60), boxes_of_all_sizes(40)], [(120, 192), (128, 150)]
    pools = [cls(NAMES, 7, 2) for cls in (MultiScaleRoIAlign, torchvision.ops.MultiScaleRoIAlign)]
    assert repr(pools[0]) == repr(pools[1])
    ours, theirs = (pool(features, boxes, shapes) for pool in pools)
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)
    inputs, weights = [features[name] for name in NAMES], torch.randn_like(ours)
    for gradients in zip(*(torch.autograd.grad(pooled, inputs, weights) for pooled in (ours, theirs)), strict=True):
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
