"""Each operator's translation to ONNX against the operator, in ONNX Runtime."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import Dim

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from fastmrcnn import ops
from fastmrcnn.errors import UserError
from fastmrcnn.models import InputConfig
from fastmrcnn.models.plain import to_plain
from tests.deployment.onnx_runs import InOnnx, assert_same

BATCH = Dim("batch", min=1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_boxes(*shape: int, size: float = 64, seed: int = 0) -> Tensor:
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(seed)) * size
    return torch.cat((corners.amin(dim=-2), corners.amax(dim=-2)), dim=-1)


def proposal_heads(images: int, sides: tuple[int, int], seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Of two levels with 3 anchors a cell; a few logits are equal."""
    levels = [sides, (sides[0] // 2, sides[1] // 2)]
    logits = [(random(images, 3, *level, seed=seed) * 4).round() / 2 for level in levels]
    return logits, [random(images, 12, *level, seed=seed + 1) * 0.3 for level in levels]


def propose(logits: list[Tensor], deltas: list[Tensor], image_sizes: Tensor) -> Any:
    sizes = [(level.shape[-2], level.shape[-1]) for level in logits]
    anchors = ops.generate_anchors((64, 64), sizes, [(4, 4), (8, 8)], [(16.0,), (32.0,)], [(0.5, 1.0, 2.0)] * 2)
    return ops.generate_proposals(
        logits, deltas, anchors, image_sizes, pre_nms=50, post_nms=40, min_size=2.0, score_threshold=0.2
    )


def test_proposals() -> None:
    """Fewer anchors than pre_nms, images of other sizes, and an image without a proposal."""
    sizes = torch.tensor([[60, 50], [64, 64]])
    height, width = (Dim(side, min=1) for side in ("half_height", "half_width"))
    levels = [{0: BATCH, 2: 2 * height, 3: 2 * width}, {0: BATCH, 2: height, 3: width}]
    own = InOnnx(propose, (*proposal_heads(2, (16, 12)), sizes), (levels, levels, {0: BATCH}))
    for images, sides in ((2, (16, 12)), (1, (6, 4)), (3, (20, 20))):
        logits, deltas = proposal_heads(images, sides, seed=images)
        some = torch.tensor([[60, 50]] * images)
        assert_same(own(logits, deltas, some), propose(logits, deltas, some))
    logits, deltas = proposal_heads(2, (16, 12))
    logits = [torch.cat((level[:1], torch.full_like(level[1:], -9))) for level in logits]
    expected = propose(logits, deltas, sizes)
    assert expected.counts[0] > 0
    assert expected.counts[1] == 0
    assert_same(own(logits, deltas, sizes), expected)


@pytest.mark.parametrize("agnostic", [False, True])
def test_detections(agnostic: bool) -> None:
    def select(logits: Tensor, deltas: Tensor, proposals: Tensor, counts: Tensor, sizes: Tensor) -> Any:
        return ops.select_detections(logits, deltas, proposals, counts, sizes, score_threshold=0.3, detections=20)

    def inputs(images: int, seed: int) -> tuple[Tensor, ...]:
        width = 4 if agnostic else 16
        deltas, boxes = random(images, 50, width, seed=seed + 1), random_boxes(images, 50, seed=seed)
        counts = torch.tensor([50, 7, 0][:images])
        return random(images, 50, 4, seed=seed) * 2, deltas, boxes, counts, torch.tensor([[60, 50]] * images)

    own = InOnnx(select, inputs(2, 0), ({0: BATCH},) * 5)
    for images in (1, 2, 3):
        expected = select(*inputs(images, images))
        assert expected.counts[0] > 5
        assert_same(own(*inputs(images, images)), expected)
    assert expected.counts[2] == 0


@pytest.mark.parametrize("level_rule", ["torchvision", "detectron2"])
def test_pooling_of_a_pyramid(level_rule: Any) -> None:
    """RoIs at the borders of levels, without area, and beyond the maps."""
    sides = torch.tensor([13.9999, 14.0, 27.99999, 28.0, 28.00001, 56.0, 0.0, 200.0])
    at_borders = torch.stack((torch.zeros(8), torch.zeros(8), sides, sides), dim=1)
    boxes = torch.cat((at_borders, random_boxes(20), torch.tensor([[-50.0, -50, -40, -45]])))
    rois = torch.cat((torch.arange(29.0)[:, None] % 2, boxes), dim=1)
    maps = [random(2, 3, 64 >> level, 48 >> level) for level in range(3)]

    def pool(maps: list[Tensor], rois: Tensor) -> Tensor:
        return ops.multiscale_roi_align(
            maps, rois, 3, [1, 0.5, 0.25], 0, True, canonical_scale=28, canonical_level=1, level_rule=level_rule
        )

    own = InOnnx(pool, (maps, rois), ([{}] * 3, {0: Dim("regions", min=0)}))
    for some in (rois, rois[:1], rois[:0]):
        assert_same(own(maps, some), pool(maps, some))


def test_pooling_of_one_map() -> None:
    rois = torch.cat((torch.zeros(20, 1), random_boxes(20)), dim=1)
    rois[3, 1:] = torch.nan

    def pool(map: Tensor, rois: Tensor) -> Any:
        return ops.roi_align(map, rois, 4, 0.25, 2), ops.roi_pool(map, rois, 4, 0.25)

    map = random(1, 3, 16, 16)
    assert_same(InOnnx(pool, (map, rois))(map, rois), pool(map, rois))


def test_keypoints() -> None:
    def decode(heatmaps: Tensor, boxes: Tensor) -> Tensor:
        return ops.decode_keypoints(heatmaps, boxes)

    heatmaps, boxes = random(6, 3, 14, 14), random_boxes(6)
    boxes[2] = 0  # an empty slot
    own = InOnnx(decode, (heatmaps, boxes), ({0: Dim("regions", min=0)}, {0: Dim("regions", min=0)}))
    assert_same(own(heatmaps, boxes), decode(heatmaps, boxes), 1e-3)
    assert own(heatmaps[:0], boxes[:0])[0].shape == (0, 3, 4)


INPUTS: dict[str, tuple[InputConfig, float]] = {  # and how far pixels may lie from ours
    "torchvision": (InputConfig(min_size=40, max_size=60, resampling="bilinear"), 1e-4),
    "our own, not enlarged": (InputConfig(min_size=40, max_size=60, enlarge=False), 1e-4),
    "not shrunk": (InputConfig(min_size=40, max_size=100, shrink=False, size_rounding="nearest_even"), 1e-4),
    "mmdetection": (
        InputConfig(min_size=40, max_size=60, size_rounding="nearest_at_once", resampling="opencv", pixel_max=255.0),
        1e-4,
    ),
    # Of Pillow's grey values a few come out one off along the rows, and once more down the columns.
    "detectron2": (
        InputConfig(
            min_size=40,
            max_size=60,
            size_rounding="nearest",
            resampling="pil",
            channel_order="bgr",
            pixel_max=255.0,
            mean=(103.5, 116.3, 123.7),
            std=(1.0, 1.0, 1.0),
        ),
        2.001,
    ),
}


@pytest.mark.parametrize(("name", "dtype"), [*((name, torch.uint8) for name in INPUTS), ("mmdetection", torch.float32)])
def test_images_are_fitted(name: str, dtype: torch.dtype) -> None:
    config, tolerance = INPUTS[name]
    text = json.dumps(to_plain(dataclasses.replace(config, size_divisor=16)))

    def fit(images: Tensor) -> Any:
        return torch.ops.fastmrcnn_deployment.fit_images(images, text)

    def images(*shape: int) -> Tensor:
        pixels = torch.rand(shape, generator=torch.Generator().manual_seed(shape[-1]))
        return (pixels * 255).to(torch.uint8) if dtype == torch.uint8 else pixels

    own = InOnnx(fit, (images(2, 3, 50, 70),), ({0: BATCH, 2: Dim("height", min=1), 3: Dim("width", min=1)},))
    for shape in ((2, 3, 50, 70), (1, 3, 20, 90), (1, 3, 47, 33), (1, 3, 300, 20), (1, 3, 40, 60)):
        found, (pixels, *sizes) = own(images(*shape)), fit(images(*shape))
        assert_same(found[1:], sizes)
        assert found[0].shape == pixels.shape
        differences = (found[0] - pixels).abs()
        assert differences.max() <= tolerance
        assert (differences > 1e-4).float().mean() < 0.05


def test_an_operator_that_nothing_stands_for_is_named() -> None:
    def count(boxes: Tensor) -> Tensor:
        return ops.paste_masks(torch.ones(2, 4, 4), boxes, (8, 8))

    with pytest.raises(UserError, match=r"cannot translate this model: .*paste_masks"):
        InOnnx(count, (random_boxes(2, size=8),))
