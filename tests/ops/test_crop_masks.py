"""crop_masks: the bits of RoIAlign on float bitmaps, whatever the masks come as; detectron2's binary targets."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import InstanceMasks, crop_masks, roi_align
from tests.ops.box_cases import DEGENERATE, INF, NAN, random_boxes
from tests.ops.segmentation_cases import random_polygon, random_segmentations

SIZES = [(90, 120), (1, 1), (7, 200), (200, 3)]


def make_masks(seed: int, size: tuple[int, int]) -> InstanceMasks:
    rng = np.random.default_rng(seed)
    return InstanceMasks.from_coco(random_segmentations(rng, 7, *size), *size)


def make_boxes(count: int) -> tuple[Tensor, Tensor]:
    """Boxes of all sizes within, across and off the image, and all degenerate ones; the object of each."""
    boxes = random_boxes(count, size=120, longest=150) - 20
    boxes = torch.cat([boxes, torch.tensor(list(DEGENERATE.values()))])
    return boxes, torch.randint(7, (len(boxes),))


def pooled_bitmap(mask: Tensor, boxes: Tensor, matched: Tensor, size: int, aligned: bool) -> Tensor:
    """The definition: RoIAlign of a float copy."""
    rois = torch.cat((matched[:, None].float(), boxes), dim=1)
    return roi_align(mask[:, None].float(), rois, size, aligned=aligned)[:, 0]


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("cells", [1, 7, 28, 33])
@pytest.mark.parametrize("size", SIZES)
def test_equals_roi_align_of_the_bitmap_bit_for_bit(size: tuple[int, int], cells: int, aligned: bool) -> None:
    masks, (boxes, matched) = make_masks(cells, size), make_boxes(60)
    bitmaps = masks.to_bitmaps()
    expected = pooled_bitmap(bitmaps, boxes, matched, cells, aligned)
    assert (expected > 0).any() or size == (1, 1)  # few boxes meet a single pixel
    for given in (bitmaps, bitmaps.to(torch.uint8), masks, masks.to_runs()):
        assert torch.equal(crop_masks(given, boxes, matched, cells, aligned=aligned), expected)


def plain_target(bitmap: np.ndarray, box: list[float], cells: int) -> np.ndarray:
    """The mean of the bitmap's bilinear interpolation over one sample per pixel and axis, in float64."""
    x1, y1, x2, y2 = box
    width, height = max(x2 - x1, 1), max(y2 - y1, 1)
    samples_y, samples_x = int(np.ceil(height / cells)), int(np.ceil(width / cells))
    target = np.zeros((cells, cells))
    for i, j in np.ndindex(cells, cells):
        for s, t in np.ndindex(samples_y, samples_x):
            y = y1 + (i + (s + 0.5) / samples_y) * height / cells
            x = x1 + (j + (t + 0.5) / samples_x) * width / cells
            target[i, j] += sample(bitmap, y, x)
    return target / (samples_y * samples_x)


def sample(bitmap: np.ndarray, y: float, x: float) -> float:
    height, width = bitmap.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = bitmap[top, left] * (1 - dx) + bitmap[top, right] * dx
    return upper * (1 - dy) + (bitmap[bottom, left] * (1 - dx) + bitmap[bottom, right] * dx) * dy


def test_equals_the_definition_in_plain_numpy() -> None:
    masks = make_masks(3, (40, 50))
    boxes = random_boxes(12, size=40, longest=30) - 5
    matched = torch.arange(12) % 7
    found = crop_masks(masks, boxes, matched, 5)
    for target, box, bitmap in zip(found, boxes.double().tolist(), masks.to_bitmaps()[matched].numpy(), strict=True):
        np.testing.assert_allclose(target.numpy(), plain_target(bitmap, box, 5), atol=2e-5)


@pytest.mark.parametrize("aligned", [False, True])
def test_equals_torchvision(aligned: bool) -> None:
    torchvision = pytest.importorskip("torchvision", reason="the peer comparison needs torchvision")
    masks, boxes, matched = make_masks(5, (90, 120)), random_boxes(50, size=120, longest=100), torch.randint(7, (50,))
    rois = torch.cat((matched[:, None].float(), boxes), dim=1)
    theirs = torchvision.ops.roi_align(masks.to_bitmaps()[:, None].float(), rois, (28, 28), 1.0, aligned=aligned)
    torch.testing.assert_close(crop_masks(masks, boxes, matched, 28, aligned=aligned), theirs[:, 0], rtol=0, atol=1e-5)


def test_bytes_count_as_what_they_are() -> None:
    shades = torch.randint(256, (2, 30, 40), dtype=torch.uint8)
    boxes, matched = random_boxes(9, size=30), torch.randint(2, (9,))
    assert torch.equal(crop_masks(shades, boxes, matched, 6), pooled_bitmap(shades, boxes, matched, 6, False))


def binary_reference(polygons: list[list[float]], box: np.ndarray, cells: int, coco: Any) -> np.ndarray:
    """detectron2's rule: the polygons in the frame of the box, drawn there."""
    width, height = box[2] - box[0], box[3] - box[1]
    frame = []
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64)
        points[0::2] = (points[0::2] - box[0]) * float(np.float32(cells) / width if width >= 0.1 else cells / 0.1)
        points[1::2] = (points[1::2] - box[1]) * float(np.float32(cells) / height if height >= 0.1 else cells / 0.1)
        frame.append(points.tolist())
    return coco.decode(coco.merge(coco.frPyObjects(frame, cells, cells)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
@pytest.mark.parametrize("cells", [1, 14, 28])
def test_binary_targets_of_polygons_are_detectron2s(cells: int) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="the reference draws with pycocotools")
    rng = np.random.default_rng(cells)
    polygons = [[random_polygon(rng, "inside", 90, 120) for _ in range(1 + k % 3)] for k in range(7)]
    masks, boxes = InstanceMasks.from_coco(polygons, 90, 120), random_boxes(40, size=100, longest=100) - 10
    boxes[0, 2:] = boxes[0, :2]
    matched = torch.randint(7, (40,))
    found = crop_masks(masks, boxes, matched, cells, binary=True)
    for target, box, number in zip(found.numpy(), boxes.numpy(), matched.tolist(), strict=True):
        np.testing.assert_array_equal(target, binary_reference(polygons[number], box, cells, coco))


def test_binary_targets_of_bitmaps_and_run_lengths_are_the_soft_ones_from_a_half_on() -> None:
    masks, (boxes, matched) = make_masks(9, (90, 120)), make_boxes(30)
    runs = masks.to_runs()
    expected = (crop_masks(runs, boxes, matched, 28, aligned=True) >= 0.5).float()
    for given in (runs, runs.to_bitmaps()):
        assert torch.equal(crop_masks(given, boxes, matched, 28, aligned=True, binary=True), expected)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_boxes_leave_their_neighbours_alone(name: str, binary: bool) -> None:
    masks, matched = make_masks(1, (90, 120)), torch.tensor([3, 3, 3])
    boxes = torch.tensor([[10.0, 10, 30, 30], DEGENERATE[name], [10, 10, 30, 30]])
    for given in (masks, masks.to_bitmaps()):
        cropped = crop_masks(given, boxes, matched, 14, binary=binary)
        assert torch.equal(cropped[0], cropped[2])
        assert ((cropped >= 0) & (cropped <= 1.00001)).all()
        if name in ("NaN", "all NaN", "infinite", "negative infinite", "everywhere", "left of the image"):
            assert not cropped[1].any()


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_boxes_without_a_place_give_zeros(value: float, corner: int) -> None:
    masks = InstanceMasks.from_coco([[[0.0, 0, 10, 0, 10, 10, 0, 10]]], 20, 20)
    box = torch.tensor([[0.0, 0, 10, 10]])
    box[0, corner] = value
    for given in (masks, masks.to_runs(), masks.to_bitmaps()):
        for binary in (False, True):
            assert not crop_masks(given, box, torch.tensor([0]), 4, binary=binary).any()


def test_huge_boxes_find_the_same_pixels_in_every_form() -> None:
    masks, rng = make_masks(8, (90, 120)), np.random.default_rng(0)
    reach = 10.0 ** rng.uniform(2, 38, (300, 1))
    boxes = torch.from_numpy(np.concatenate([-reach * rng.random((300, 2)), reach * rng.random((300, 2))], axis=1))
    matched = torch.from_numpy(rng.integers(0, 7, 300))
    for cells in (2, 7, 28):
        assert torch.equal(
            crop_masks(masks, boxes, matched, cells), crop_masks(masks.to_bitmaps(), boxes, matched, cells)
        )


def test_fine_stripes_cost_about_what_their_bitmap_costs() -> None:
    height, width = 40000, 32
    stripes = dataclasses.replace(
        InstanceMasks.from_coco([[]], height, width),
        transitions=torch.arange(1, height * width),
        object_transitions=torch.tensor([0, height * width - 1]),
    )
    box, matched = torch.tensor([[0.0, 0, width, height]]), torch.tensor([0])
    seconds = []
    for given in (stripes.to_bitmaps(), stripes):
        begin = time.process_time()
        crop_masks(given, box, matched, 1)
        seconds.append(time.process_time() - begin)
    assert seconds[1] < 100 * seconds[0]  # thousands of times where each run looks at every row of its bin


def test_objects_of_empty_polygons_give_zeros() -> None:
    masks = InstanceMasks.from_coco([[[0.0, 0, 10, 0, 10, 10]], [], []], 20, 20)
    hollow = dataclasses.replace(masks, polygons=torch.tensor([0, 3, 3]), object_polygons=torch.tensor([0, 1, 2, 2]))
    boxes, matched = torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1), torch.arange(3)
    assert crop_masks(hollow, boxes, matched, 4, binary=True).flatten(1).any(dim=1).tolist() == [True, False, False]


def test_nothing_to_crop() -> None:
    boxes, matched = torch.rand(0, 4), torch.empty(0, dtype=torch.int64)
    for masks in (make_masks(0, (9, 9)), torch.zeros(0, 9, 9, dtype=torch.bool), InstanceMasks.from_coco([], 9, 9)):
        assert crop_masks(masks, boxes, matched, 28).shape == (0, 28, 28)
    for size in ((0, 5), (5, 0)):
        flat = torch.zeros(1, *size, dtype=torch.bool)
        assert not crop_masks(flat, torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0]), 2).any()


def test_layouts_and_dtypes() -> None:
    masks, (boxes, matched) = make_masks(2, (90, 120)), make_boxes(20)
    bitmaps = masks.to_bitmaps()
    expected = crop_masks(masks, boxes, matched, 28)
    strided = torch.stack((bitmaps, bitmaps), dim=-1)[..., 0]
    assert torch.equal(crop_masks(strided, boxes.t().contiguous().t(), matched.int(), 28), expected)
    assert torch.equal(crop_masks(bitmaps, boxes.double(), matched, 28), expected)
    halves = crop_masks(masks, boxes.half(), matched, 28)
    assert halves.dtype == torch.float32
    assert torch.equal(halves, crop_masks(bitmaps, boxes.half().float(), matched, 28))


def test_the_number_of_threads_changes_nothing() -> None:
    masks, (boxes, matched) = make_masks(4, (90, 120)), make_boxes(50)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [crop_masks(given, boxes, matched, 28) for given in (masks, masks.to_bitmaps())]
        torch.set_num_threads(2)
        together = [crop_masks(given, boxes, matched, 28) for given in (masks, masks.to_bitmaps())]
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one, two)


def test_under_fake_tensors_compilation_and_opcheck() -> None:
    masks, (boxes, matched) = make_masks(6, (30, 40)), make_boxes(5)
    operators = torch.ops.fastmrcnn
    torch.library.opcheck(operators.crop_bitmaps.default, (masks.to_bitmaps(), boxes, matched, 7, True))
    outlines = (masks.points, masks.polygons, masks.object_polygons, masks.transitions, masks.object_transitions)
    arguments = (*outlines, 30, 40, boxes, matched, 7, False, True)
    torch.library.opcheck(operators.crop_encoded_masks.default, arguments)
    compiled = torch.compile(lambda m, b, i: crop_masks(m, b, i, 14), fullgraph=True, backend="aot_eager")
    for given in (masks, masks.to_bitmaps()):
        assert torch.equal(compiled(given, boxes, matched), crop_masks(given, boxes, matched, 14))


def test_errors() -> None:
    bitmaps, boxes, matched = torch.zeros(3, 9, 9, dtype=torch.bool), torch.rand(2, 4), torch.tensor([0, 2])
    cases = [
        ((bitmaps, boxes, matched, 0), "size must be positive; got 0"),
        ((bitmaps, boxes, matched, 1 << 15), r"size must be positive and at most 2\^14; got 32768"),
        ((bitmaps, boxes[:, :3], matched, 7), r"boxes must be \[P, 4\]; got \[2, 3\]"),
        ((bitmaps, boxes.int(), matched, 7), "boxes must be floating point; got torch.int32"),
        ((bitmaps, boxes, matched + 0.7, 7), "matched must be integers; got torch.float32"),
        ((bitmaps, boxes, matched > 0, 7), "matched must be integers; got torch.bool"),
        ((bitmaps.float(), boxes, matched, 7), "masks must be bool or uint8; got float32"),
        ((bitmaps[0], boxes, matched, 7), r"masks must be \[G, H, W\]; got \[9, 9\]"),
        ((bitmaps, boxes, matched[:1], 7), r"matched must be \[P\] with P that of boxes; got \[1\]"),
        ((bitmaps, boxes, matched + 1, 7), r"matched\[1\] is 3; expected at least 0 and below 3, the number of masks"),
        ((bitmaps, boxes, matched - 1, 7), r"matched\[0\] is -1; expected at least 0 and below 3"),
        ((make_masks(0, (9, 9)), boxes, matched + 5, 7), r"matched\[1\] is 7; expected at least 0 and below 7"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=f"crop_masks: {message}"):
            crop_masks(*arguments)
