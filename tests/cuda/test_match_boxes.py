"""match_boxes on CUDA: the decisions of the plain reference, and the CPU's highest IoUs to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastmrcnn import _C
from fastmrcnn.ops import generate_anchors, match_boxes
from tests.cuda.run import TestDevice
from tests.ops.box_cases import DEGENERATE, INF, NAN, clustered_boxes, random_boxes
from tests.ops.match_cases import DTYPES, NO_OBJECTS, THRESHOLDS, Reference

BLOCK = 256  # threads


def check_against_reference(
    device: TestDevice, objects: Tensor, boxes: Tensor, regions: Tensor | None = None, every: int = 1
) -> None:
    """At each `every`-th pair of thresholds."""
    reference = Reference(objects, boxes, NO_OBJECTS if regions is None else regions)
    for foreground, background in THRESHOLDS[::every]:
        for every_object in (False, True):
            options = {"foreground": foreground, "background": background, "every_object": every_object}
            found = device.run(match_boxes, objects, boxes, ignore_regions=regions, **options)
            assert found.tolist() == reference.matches(**options), options


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), [(0, 0), (0, 5), (3, 0), (1, 1), (7, 31), (33, 33), (65, BLOCK + 1), (2, 700)])
def test_equals_the_reference(m: int, n: int, dtype: torch.dtype, device: TestDevice) -> None:
    boxes, objects = clustered_boxes(n, 10, dtype=dtype), clustered_boxes(m, 10, dtype=dtype)
    if n > 2:
        copied = objects[::2][:n]
        copied[:] = boxes[: len(copied)]
    check_against_reference(device, objects, boxes, random_boxes(2, dtype=dtype), every=2)


def test_a_block_that_takes_several_turns(device: TestDevice) -> None:
    """More than 32 objects and regions near one warp, in ascending order: the first of equals stays."""
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(40, 1)
    objects = torch.tensor([[0.0, 0, 10, 4]]).repeat(70, 1)
    objects[[35, 66]] = torch.tensor([0.0, 0, 10, 9])
    regions = torch.tensor([[0.0, 0, 10, 1]]).repeat(50, 1)
    regions[45] = torch.tensor([0.0, 0, 10, 8])
    found = device.run(match_boxes, objects, boxes, foreground=0.7, background=0.3)
    assert found.tolist() == [35] * 40
    found = device.run(match_boxes, objects, boxes, foreground=1.0, background=0.95, ignore_regions=regions)
    assert found.tolist() == [-2] * 40


def test_more_objects_than_blocks_share_out(device: TestDevice) -> None:
    """Groups of 32 objects go to 16 blocks in turn; the last one has two turns."""
    objects = torch.tensor([[50.0, 50, 60, 60]]).repeat(530, 1)
    objects[[5, 529]] = torch.tensor([[0.0, 0, 10, 4], [20, 0, 30, 4]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 40, 10, 50]])
    found = device.run(match_boxes, objects, boxes, foreground=0.7, background=0.3, every_object=True)
    assert found.tolist() == [5, 529, -1]


def test_ties_in_distant_blocks_are_all_claimed(device: TestDevice) -> None:
    boxes = torch.tensor([[100.0, 100, 110, 110]]).repeat(4 * BLOCK, 1)
    winners = [0, 1, 33, BLOCK, 3 * BLOCK - 1, 4 * BLOCK - 1]
    boxes[winners] = torch.tensor([0.0, 0, 10, 5])
    options = {"foreground": 0.7, "background": 0.3, "every_object": True}
    found = device.run(match_boxes, torch.tensor([[0.0, 0, 10, 40]]), boxes, **options)
    assert torch.where(found == 0)[0].tolist() == winners


def test_anchors_equal_the_reference(device: TestDevice) -> None:
    """Rows of rounded anchors, where objects tie with many of them."""
    anchors = torch.cat(
        generate_anchors(
            (48, 80), [(12, 20), (6, 10)], [(4, 4), (8, 8)], [(16,), (32,)], [(0.5, 1.0)] * 2, rounded=True
        )
    )
    check_against_reference(device, random_boxes(6).round(), anchors, torch.tensor([[0.0, 0, 40, 25]]), every=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_degenerate_boxes(dtype: torch.dtype, device: TestDevice) -> None:
    odd, proper = torch.tensor([*DEGENERATE.values()], dtype=dtype), random_boxes(20, dtype=dtype)
    check_against_reference(device, torch.cat([odd, proper[:4], odd]), torch.cat([odd, proper, odd]), odd, every=3)


def test_odd_numbers(device: TestDevice) -> None:
    values = torch.tensor([0, 1, 2, 3, 5, NAN, INF, -INF, 1e30, -1e30, 1e-30])
    odd = values[torch.randint(len(values), (200, 4))]
    check_against_reference(device, odd[:9], odd[9:150], odd[190:], every=3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("every_object", [False, True])
def test_highest_overlaps_equal_the_cpu(every_object: bool, dtype: torch.dtype, device: TestDevice) -> None:
    boxes, objects = clustered_boxes(500, 12, dtype=dtype), clustered_boxes(40, 20, dtype=dtype)
    objects[3, 2] = NAN
    objects[7] += 1e4
    results = []
    for run in (lambda *arguments: _C.match_boxes((1, 0), *arguments), lambda *a: device.native("match_boxes", *a)):
        highest, matches = torch.full((40,), NAN, dtype=dtype), torch.full((500,), 99)
        run(objects, boxes, None, 0.7, 0.3, 0.7, every_object, highest, matches)
        results.append((highest, matches))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert results[1][0][[3, 7]].tolist() == [0, 0]


def test_errors_are_those_of_the_cpu(device: TestDevice) -> None:
    with pytest.raises(ValueError, match=r"match_boxes: background must be <= foreground 0\.7; got 0\.8"):
        device.run(match_boxes, random_boxes(2), random_boxes(3), foreground=0.7, background=0.8)
