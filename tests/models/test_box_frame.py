"""Boxes on their way into the network and out of it, from edges and from pixels, against plain numpy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.box_frame import BoxFrame, keep_slots
from fastmrcnn.models.instances import ImageBatch, PaddedInstances
from fastmrcnn.models.padding import is_filled
from fastmrcnn.models.transform import InputTransform
from tests.models import matterport_rules as rules
from tests.models.matterport_small import random_boxes, small_config, swapped
from tests.models.small import images_of, target_of

PIXELS = BoxFrame("pixels", side=128)


def test_boxes_come_back_as_whole_pixels() -> None:
    sizes, originals, frame = [(96, 128), (128, 64)], [(333, 444), (120, 60)], (128, 128)
    batch = ImageBatch(torch.zeros(2, 3, *frame), sizes, originals, torch.tensor(sizes))
    windows = [np.array([16, 0, 112, 128]), np.array([0, 32, 128, 96])]
    boxes = np.stack([random_boxes(30, frame, seed) for seed in (0, 1)])
    for own, window in zip(boxes, windows, strict=True):
        inner = rules.normalise(window.astype(float), frame)
        own[3:6, 2:] = own[3:6, :2]  # from a point to itself: a pixel
        own[:] = [rules.clip(box, inner) for box in own]
    counts = torch.tensor([30, 25])
    slots = PIXELS.leave_slots(swapped(boxes) * 127, counts)
    assert (slots[1, 25:] == 0).all()
    found = PaddedInstances(slots, torch.arange(60.0).flip(0).view(2, 30), torch.ones(2, 30).long(), counts)
    restored = PIXELS.restore(found, batch)
    for image, (own, window, original) in enumerate(zip(boxes, windows, originals, strict=True)):
        whole = [rules.unmould_box(box, window, frame, original) for box in own[: counts[image]]]
        count = int(counts[image])
        assert restored.counts[image] == count
        assert swapped(restored.boxes[image, :count]).tolist() == [box.tolist() for box in whole]
        assert (restored.boxes[image, count:] == 0).all()
    assert torch.equal(restored.scores, torch.where(is_filled(counts, 30), found.scores, 0))


@pytest.mark.parametrize("frame", [BoxFrame(), BoxFrame("edges", side=128), PIXELS])
def test_boxes_are_placed_where_they_are_restored_from(frame: BoxFrame) -> None:
    size, original = (96, 128), (333, 444)
    first = torch.randint(0, 200, (40, 2))
    boxes = torch.cat([first, first + torch.randint(1, 130, (40, 2))], dim=1).double()
    origin = (0, 0) if frame.side is None else (16, 0)
    placed = frame.place(boxes, original, size, origin)
    batch = ImageBatch(torch.zeros(1, 3, 128, 128), [size], [original], torch.tensor([size]))
    slots = frame.leave(placed)[None]
    found = PaddedInstances(slots, torch.zeros(1, 40), torch.ones(1, 40).long(), torch.tensor([40]))
    torch.testing.assert_close(frame.restore(found, batch).boxes[0], boxes, atol=1e-9, rtol=0)


def test_boxes_that_rounding_empties_are_left_out() -> None:
    """The sides of a pixel lie half-way between two numbers, and both go to the even one."""
    batch = ImageBatch(torch.zeros(1, 3, 128, 128), [(128, 128)], [(128, 128)], torch.tensor([[128, 128]]))
    boxes = torch.tensor([[[10.0, 1.5, 20, 2.5], [10, 2.5, 20, 3.5], [3, 4, 5, 6]]])
    masks = torch.rand(1, 3, 4, 4)
    found = PaddedInstances(boxes, torch.tensor([[3.0, 2, 1]]), torch.tensor([[5, 6, 7]]), torch.tensor([2]), masks)
    restored = PIXELS.restore(found, batch)
    assert restored.boxes[0].tolist() == [[10, 2, 20, 4], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert restored.labels.tolist() == [[6, 0, 0]]
    assert restored.counts.tolist() == [1]
    assert restored.mask_probs is not None
    assert torch.equal(restored.mask_probs[0, 0], masks[0, 1])


def test_an_edge_frame_in_the_middle() -> None:
    """The place of the images and the meaning of corners are separate choices."""
    frame = BoxFrame("edges", side=128)
    batch = ImageBatch(torch.zeros(1, 3, 128, 128), [(64, 128)], [(32, 64)], torch.tensor([[64, 128]]))
    found = PaddedInstances(
        torch.tensor([[[10.0, 42, 20, 52], [0, 0, 0, 0]]]),
        torch.zeros(1, 2),
        torch.ones(1, 2).long(),
        torch.tensor([1]),
    )
    assert frame.restore(found, batch).boxes.tolist() == [[[5, 5, 10, 10], [0, 0, 0, 0]]]
    assert frame.on_image(torch.tensor([10.0, 42, 20, 52]), (32, 0)).tolist() == [10, 10, 20, 20]


def test_kept_slots_move_to_the_front() -> None:
    found = PaddedInstances(
        torch.arange(12.0).view(1, 3, 4), torch.tensor([[3.0, 2, 1]]), torch.tensor([[5, 6, 7]]), torch.tensor([3])
    )
    kept = keep_slots(found, torch.tensor([[False, True, True]]))
    assert kept.labels.tolist() == [[6, 7, 0]]
    assert kept.counts.tolist() == [2]
    assert kept.boxes[0].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [0, 0, 0, 0]]


def test_targets_follow_their_images() -> None:
    transform = InputTransform(small_config().input).eval()
    [image] = images_of((48, 64))
    [target] = transform.targets([target_of(image, [[10, 5, 30, 25]], [2])], transform([image]))
    assert target.origin == (16, 0)
    assert target.boxes.tolist() == [[20, 26, 60, 66]]  # twice as large, 16 px further down
    assert target.masks.shape == (1, 96, 128)
    inside = PIXELS.enter_target(target)
    assert inside.boxes.tolist() == [[20, 26, 59, 65]]
    assert PIXELS.on_image(inside.boxes, target.origin).tolist() == [[20, 10, 60, 50]]


@pytest.mark.parametrize("corners", ["edges", "pixels"])
def test_region_proposals_alone_end_with_the_image(corners: Any) -> None:
    """Inside, they are cut off at the frame."""
    config = dataclasses.replace(small_config(), box_head=None, mask_head=None, box_corners=corners)
    torch.manual_seed(0)
    model = MaskRCNN(config).eval()
    images = images_of((60, 90), (90, 40))
    for found, image in zip(model(images), images, strict=True):
        assert len(found) > 5
        height, width = image.shape[1:]
        assert found.boxes.min() >= 0
        assert (found.boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    batch = model.transform(images)
    padded = model.detect_batch(batch.pixels, batch.image_sizes)
    assert padded.counts.tolist() == [int((boxes[:, 2] > 0).sum()) for boxes in padded.boxes]
