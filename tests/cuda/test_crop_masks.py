"""crop_masks on CUDA, from bitmaps, run lengths and polygons: the CPU's numbers, to the last bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import InstanceMasks, crop_masks
from fastmrcnn.ops._library import native
from tests.cuda.run import TestDevice
from tests.ops.box_cases import DEGENERATE, INF, NAN, random_boxes
from tests.ops.segmentation_cases import POLYGON_KINDS, random_polygon, random_segmentations

Masks = Tensor | InstanceMasks


def make_masks(seed: int, size: tuple[int, int], count: int = 5) -> InstanceMasks:
    rng = np.random.default_rng(seed)
    return InstanceMasks.from_coco(random_segmentations(rng, count, *size), *size)


def make_boxes(count: int, size: int = 50, objects: int = 5) -> tuple[Tensor, Tensor]:
    """Boxes of all sizes within, across and off the image; the object of each."""
    return random_boxes(count, size=size, longest=1.3 * size) - size / 6, torch.arange(count) % objects


def assert_equals_the_cpu(device: TestDevice, masks: Masks, *arguments: object, **options: object) -> Tensor:
    found: Tensor = device.run(crop_masks, masks, *arguments, **options)
    expected = crop_masks(masks, *arguments, **options)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    return found


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("cells", [1, 2, 28, 33])
@pytest.mark.parametrize("size", [(40, 53), (1, 1), (7, 90), (90, 3)])
def test_equals_the_cpu(size: tuple[int, int], cells: int, aligned: bool, device: TestDevice) -> None:
    masks, (boxes, matched) = make_masks(cells, size), make_boxes(5)
    bitmaps = masks.to_bitmaps()
    found = [
        assert_equals_the_cpu(device, given, boxes, matched, cells, aligned=aligned)
        for given in (bitmaps, masks, masks.to_runs())
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("kind", POLYGON_KINDS)
def test_polygons_of_every_kind(kind: str, device: TestDevice) -> None:
    rng = np.random.default_rng(POLYGON_KINDS.index(kind))
    height, width = 45, 70
    polygons = [[random_polygon(rng, kind, height, width) for _ in range(1 + k)] for k in range(3)]
    masks = InstanceMasks.from_coco(polygons, height, width)
    boxes, matched = torch.tensor([[0.0, 0, width, height]] * 3), torch.arange(3)
    for binary in (False, True):
        assert_equals_the_cpu(device, masks, boxes, matched, 31, binary=binary)


def test_a_hole_is_a_polygon_that_turns_back(device: TestDevice) -> None:
    """An outline that runs around twice leaves out what it goes around twice; polygons of an object are a union."""
    ring = [2.0, 2, 30, 2, 30, 30, 2, 30, 2, 2, 10, 10, 10, 20, 20, 20, 20, 10, 10, 10]
    masks = InstanceMasks.from_coco([[ring], [ring, [12.0, 12, 18, 12, 18, 18, 12, 18]]], 32, 32)
    boxes, matched = torch.tensor([[0.0, 0, 32, 32]] * 2), torch.arange(2)
    found = assert_equals_the_cpu(device, masks, boxes, matched, 32, aligned=True)
    assert found[:, 15, 15].tolist() == [0, 1]


@pytest.mark.parametrize("binary", [False, True])
def test_binary_targets(binary: bool, device: TestDevice) -> None:
    masks, (boxes, matched) = make_masks(9, (40, 60), 7), make_boxes(9, objects=7)
    for given in (masks, masks.to_runs(), masks.to_bitmaps()):
        assert_equals_the_cpu(device, given, boxes, matched, 14, aligned=True, binary=binary)


@pytest.mark.parametrize("binary", [False, True])
def test_objects_that_have_polygons_and_run_lengths(binary: bool, device: TestDevice) -> None:
    polygons = InstanceMasks.from_coco([[[3.0, 3, 20, 4, 12, 25]], []], 30, 40)
    runs = make_masks(4, (30, 40), 2).to_runs()
    both = dataclasses.replace(polygons, transitions=runs.transitions, object_transitions=runs.object_transitions)
    boxes, matched = torch.tensor([[0.0, 0, 40, 30], [2, 1, 22, 27]] * 2), torch.tensor([0, 0, 1, 1])
    assert_equals_the_cpu(device, both, boxes, matched, 12, binary=binary)


def test_masks_of_several_strips(device: TestDevice) -> None:
    """Taller than a strip of rows, so that outlines enter from above, and wider than a strip of columns."""
    masks = make_masks(11, (2100, 40), 4)
    boxes, matched = torch.tensor([[1.0, 1990, 39, 2099]] * 4), torch.arange(4)
    assert_equals_the_cpu(device, masks, boxes, matched, 16)


@pytest.mark.parametrize("transposed", [False, True])
def test_boxes_with_more_pixels_than_the_table_of_their_taps(transposed: bool, device: TestDevice) -> None:
    bitmaps = torch.rand(1, 3, 4300) < 0.5
    boxes = torch.tensor([[1.0, 0, 4299, 3]])
    if transposed:
        bitmaps, boxes = bitmaps.transpose(1, 2).contiguous(), boxes[:, [1, 0, 3, 2]]
    assert_equals_the_cpu(device, bitmaps, boxes, torch.tensor([0]), 2)


def test_bytes_count_as_what_they_are(device: TestDevice) -> None:
    shades = torch.randint(256, (2, 20, 30), dtype=torch.uint8)
    assert_equals_the_cpu(device, shades, *make_boxes(4, 30, 2), 6)


@pytest.mark.parametrize("binary", [False, True])
def test_degenerate_boxes(binary: bool, device: TestDevice) -> None:
    masks = make_masks(1, (40, 50))
    boxes = torch.tensor([*DEGENERATE.values(), [NAN, 0, 10, 10], [0, 0, INF, 10], [0, -INF, 10, 10]])
    matched = torch.arange(len(boxes)) % 5
    for given in (masks, masks.to_bitmaps()):
        assert_equals_the_cpu(device, given, boxes, matched, 7, binary=binary)


def test_huge_boxes(device: TestDevice) -> None:
    rng = np.random.default_rng(0)
    reach = 10.0 ** rng.uniform(2, 38, (12, 1))
    boxes = torch.from_numpy(np.concatenate([-reach * rng.random((12, 2)), reach * rng.random((12, 2))], axis=1))
    masks, matched = make_masks(8, (40, 50)), torch.arange(12) % 5
    for given in (masks, masks.to_bitmaps()):
        assert_equals_the_cpu(device, given, boxes, matched, 7)


@pytest.mark.parametrize("binary", [False, True])
def test_an_index_of_no_object_gives_nan(binary: bool, device: TestDevice) -> None:
    masks, (boxes, _) = make_masks(3, (30, 40)), make_boxes(4)
    matched = torch.tensor([1, -1, 5, 2**40])
    for given in (masks, masks.to_bitmaps()):
        found = device.run(crop_masks, given, boxes, matched, 5, binary=binary)
        assert torch.equal(found[:1], crop_masks(given, boxes[:1], matched[:1], 5, binary=binary))
        assert found[1:].isnan().all()


@pytest.mark.parametrize(
    "damage",
    [
        {"polygons": [0, 2**40, -5]},
        {"object_polygons": [-3, 7, 2]},
        {"object_transitions": [2**60, -1, 9]},
        {"transitions": [500, -7, 2**50, 3]},
    ],
)
def test_unsound_offsets_reach_nothing_beyond_their_arrays(damage: dict[str, list[int]], device: TestDevice) -> None:
    """Nobody can look at them on the device; what they draw is of no meaning."""
    runs = {"size": [20, 30], "counts": [100, 50, 100, 350]}
    masks = InstanceMasks.from_coco([[[1.0, 1, 9, 1, 9, 9]], runs], 20, 30)
    if "polygons" in damage:
        masks = InstanceMasks.from_coco([[[1.0, 1, 9, 1, 9, 9], [3.0, 3, 9, 3, 9, 9]], runs], 20, 30)
    arrays = {**vars(masks), **{name: torch.tensor(values) for name, values in damage.items()}}
    outlines = [arrays[name] for name in ("points", "polygons", "object_polygons", "transitions", "object_transitions")]
    cropped = torch.empty(2, 4, 4)
    workspace = torch.empty(4 * 2 * 32 * 1 * 30, dtype=torch.uint8)
    boxes, matched = torch.tensor([[0.0, 0, 30, 20]] * 2), torch.arange(2)
    device.native("crop_encoded_masks", *outlines, 20, 30, boxes, matched, False, False, cropped, workspace)
    assert not cropped.isnan().any()


def test_nothing_to_crop(device: TestDevice) -> None:
    boxes, matched = torch.rand(0, 4), torch.empty(0, dtype=torch.int64)
    for masks in (make_masks(0, (9, 9)), torch.zeros(0, 9, 9, dtype=torch.bool), InstanceMasks.from_coco([], 9, 9)):
        assert device.run(crop_masks, masks, boxes, matched, 28).shape == (0, 28, 28)
    for size in ((0, 5), (5, 0)):
        flat = torch.zeros(1, *size, dtype=torch.bool)
        assert not device.run(crop_masks, flat, torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0]), 2).any()
        empty = InstanceMasks.from_coco([[[0.0, 0, 4, 0, 4, 4]]], *size)
        assert not device.run(crop_masks, empty, torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0]), 2).any()


def test_a_workspace_that_is_too_small_is_refused(device: TestDevice) -> None:
    masks, (boxes, matched) = make_masks(0, (30, 40)), make_boxes(2)
    outlines = (masks.points, masks.polygons, masks.object_polygons, masks.transitions, masks.object_transitions)
    small, cropped = torch.empty(8, dtype=torch.uint8), torch.empty(2, 4, 4)
    with pytest.raises(ValueError, match=r"crop_masks: workspace must have \d+ bytes; got 8"):
        device.native("crop_encoded_masks", *outlines, 30, 40, boxes, matched, False, False, cropped, small)


def test_masks_of_the_host_reach_a_gpu_without_waiting() -> None:
    if not (native.cuda_info()["built"] and torch.cuda.is_available()):
        pytest.skip("no GPU")
    masks, (boxes, matched) = make_masks(2, (40, 50)), make_boxes(6)
    expected = crop_masks(masks, boxes, matched, 14)
    boxes, matched = boxes.cuda(), matched.cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = crop_masks(masks, boxes, matched, 14)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found.cpu(), expected)
