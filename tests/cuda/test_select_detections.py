"""select_detections on CUDA: the CPU's detections, to the bit in float32, and those of plain loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fastmrcnn.ops import select_detections
from fastmrcnn.ops.detections import PaddedDetections
from tests.cuda.run import Interpreted, TestDevice
from tests.ops.box_cases import INF, NAN
from tests.ops.detection_cases import Head, looped, random_head

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def on(device: TestDevice, head: Head, **options: Any) -> PaddedDetections:
    sizes = torch.tensor(head.sizes, dtype=torch.int64).reshape(-1, 2)
    result = device.run(select_detections, head.logits, head.deltas, head.proposals, head.counts, sizes, **options)
    return PaddedDetections(*result)


def assert_same(found: PaddedDetections, expected: PaddedDetections) -> None:
    """Equal in every bit; the exponentials of float64 are of two libraries."""
    tolerance = 1e-12 if expected.boxes.dtype == torch.float64 else 0.0
    for name, ours, theirs in zip(found._fields, found, expected, strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=tolerance, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("agnostic", [False, True], ids=["per class", "agnostic"])
@pytest.mark.parametrize("score_threshold", [0.05, 0.0])
def test_equals_the_reference(score_threshold: float, agnostic: bool, device: TestDevice) -> None:
    head = random_head(3, 19, 2, dtype=torch.float64, counts=[19, 0, 11], agnostic=agnostic)
    options = {"score_threshold": score_threshold, "nms_iou": 0.5, "detections": 9, "min_size": 12.0}
    found = on(device, head, **options)
    assert_same(found, head.select(**options))
    for image, rows in zip(found.per_image(), looped(head, **options), strict=True):
        assert image[2].tolist() == [row[2] for row in rows]
        assert image[3].tolist() == [row[3] for row in rows]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"score_threshold": 0.0, "detections": 70, "nms_iou": 0.9},
        {"score_threshold": 0.2, "min_size": 20.0, "detections": 3},
        {"weights": (1.0, 1.0, 1.0, 1.0), "clip": 0.01, "nms_iou": 0.0, "detections": 5},
        {"score_threshold": 1.0, "detections": 4},
        {"score_threshold": -1.0, "detections": 0},
    ],
    ids=str,
)
def test_equals_the_cpu(options: dict[str, Any], dtype: torch.dtype, device: TestDevice) -> None:
    head = random_head(2, 21, 3, dtype=dtype, counts=[21, 9])
    assert_same(on(device, head, **options), head.select(**options))


@pytest.mark.parametrize(("proposals", "classes"), [(16, 1), (17, 15), (1, 16), (3, 64), (2, 65), (33, 2), (100, 1)])
def test_tails_of_tiles_and_warps(proposals: int, classes: int, device: TestDevice) -> None:
    """Regions in sixteens, classes in sixteens and sixty-fours, candidates in thirty-twos and powers of two."""
    head = random_head(1, proposals, classes)
    options = {"score_threshold": 0.0, "nms_iou": 0.7, "detections": 40}
    assert_same(on(device, head, **options), head.select(**options))


def test_sorts_in_the_workspace_what_shared_memory_cannot_hold(device: TestDevice) -> None:
    head = random_head(1, 2049, 1)
    options = {"score_threshold": 0.0, "nms_iou": 0.5, "detections": 10}
    assert_same(on(device, head, **options), head.select(**options))


def test_every_box_of_a_class_is_kept(device: TestDevice) -> None:
    """More than a tile of boxes that overlap nothing, then a tile of boxes that those suppress."""
    places = torch.arange(40.0) * 10
    apart = torch.stack([places, torch.zeros(40), places + 8, torch.full((40,), 9.0)], dim=1)
    boxes = torch.cat([apart, apart[:20] + 1])[None]
    logits = torch.stack([torch.zeros(60), torch.linspace(3, 1, 60)], dim=1)[None]
    head = Head(logits, torch.zeros(1, 60, 4), boxes, None, [(50, 500)])
    found = on(device, head, detections=64)
    assert found.counts.tolist() == [40]
    assert found.rows[0, :40].tolist() == [*range(40)]
    assert_same(found, head.select(detections=64))


def test_equal_scores_come_in_the_order_of_proposal_and_class(device: TestDevice) -> None:
    head = random_head(1, 35, 3)
    head = replace(head, logits=torch.zeros(1, 35, 4), proposals=torch.tensor([[[10.0, 10, 60, 60]] * 35]))
    found = on(device, head, nms_iou=1.0, detections=80)
    order = [divmod(k, 3) for k in range(80)]
    assert [*zip(found.rows[0].tolist(), found.labels[0].tolist(), strict=True)] == [(r, c + 1) for r, c in order]


@pytest.mark.parametrize("value", [NAN, INF, -INF, 3e38])
@pytest.mark.parametrize("column", [0, 2])
def test_odd_logits(column: int, value: float, device: TestDevice) -> None:
    head = random_head(1, 20, 3)
    head.logits[:, ::3, column] = value
    options = {"score_threshold": 0.0, "detections": 30}
    assert_same(on(device, head, **options), head.select(**options))


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30])
def test_odd_deltas(value: float, device: TestDevice) -> None:
    head = random_head(1, 20, 3)
    head.deltas[torch.rand(head.deltas.shape) < 0.1] = value
    assert_same(on(device, head), head.select())


def test_odd_proposals(device: TestDevice) -> None:
    head = random_head(2, 20, 2)
    odd = [[NAN, 0, 9, 9], [0, 0, INF, 9], [-INF, -INF, INF, INF], [9, 9, 0, 0], [5, 5, 5, 5]]
    head.proposals[:, ::4] = torch.tensor(odd)
    assert_same(on(device, head, min_size=0.0), head.select(min_size=0.0))


def test_what_lies_behind_the_counts_is_not_looked_at(device: TestDevice) -> None:
    head = random_head(2, 20, 2, counts=[7, 0])
    expected = head.select()
    head.logits[0, 7:] = head.logits[1] = 50
    assert_same(on(device, head), expected)


def test_counts_beyond_the_proposals_are_taken_for_the_nearest(device: TestDevice) -> None:
    head = random_head(2, 20, 2)
    found = on(device, replace(head, counts=torch.tensor([21, -1])))
    assert_same(found, replace(head, counts=torch.tensor([20, 0])).select())


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (2, 5, 0)])
@pytest.mark.parametrize("detections", [0, 4])
def test_nothing_to_select_from(detections: int, shape: tuple[int, int, int], device: TestDevice) -> None:
    head = random_head(*shape)
    assert_same(on(device, head, detections=detections), head.select(detections=detections))


def test_a_workspace_that_is_too_small_is_refused(device: TestDevice) -> None:
    head = random_head(1, 5, 2)
    outputs = [*head.select(detections=4), torch.empty(10, dtype=torch.uint8)]
    with pytest.raises(ValueError, match=r"^select_detections: workspace must have \d+ bytes; got 10$"):
        device.native(
            "select_detections", head.logits, head.deltas, head.proposals, None, torch.tensor(head.sizes),
            0.05, 0.5, 1e-2, (10, 10, 5, 5), 4.0, *outputs,
        )  # fmt: skip


@pytest.mark.parametrize("score_threshold", [0.0, 0.05, 1.0])
def test_three_launches_whatever_is_found(score_threshold: float, interpreted: Interpreted) -> None:
    before = len(interpreted.device.launches)
    on(interpreted, random_head(2, 40, 2), score_threshold=score_threshold)
    kernels = ("score_regions", "keep_in_class", "rank_detections")
    for launched, kernel in zip(interpreted.device.launches[before:], kernels, strict=True):
        assert f"::{kernel}<" in launched
