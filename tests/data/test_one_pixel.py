"""A mask of one pixel is legal everywhere: in every format, in augmentation, in training and in the metrics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fastmrcnn.data import InstanceDataset, collate, open_dataset
from fastmrcnn.data.transforms import HorizontalFlip, VerticalFlip
from fastmrcnn.evaluation import CocoEvaluator
from fastmrcnn.models import MaskRCNN, tiny
from fastmrcnn.structures import Detections
from tests.data.readers import same_scene
from tests.data.readers.same_scene import WRITERS

PLACE = (5, 8, 6, 9)  # left, top, right, bottom: one pixel
CORNER = (39, 29, 40, 30)  # the last one of the image


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images with objects of one pixel alone."""
    monkeypatch.setattr(same_scene, "OBJECTS", {"a": [("car", *PLACE), ("person", *CORNER)], "b": [("person", *PLACE)]})


def write(format: str, folder: Path) -> InstanceDataset:
    return open_dataset(WRITERS[format](folder), split="train")


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize("format", WRITERS)
def test_every_format_has_them(format: str, tmp_path: Path) -> None:
    data = write(format, tmp_path)
    first = data[0]
    order = np.lexsort(first.boxes.numpy().T)
    assert first.boxes[order].tolist() == [list(map(float, PLACE)), list(map(float, CORNER))]
    assert first.areas.tolist() == [1.0, 1.0]
    assert first.masks.to_bitmaps().sum(dim=(1, 2)).tolist() == [1, 1]
    assert len(data[1]) == 1


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize("format", ["coco", "masks"])  # polygons and run lengths
def test_they_survive_a_mirror(format: str, tmp_path: Path) -> None:
    sample = write(format, tmp_path)[0]
    for transform in (HorizontalFlip(1.0), VerticalFlip(1.0)):
        sample = transform(sample, torch.Generator())
    assert sample.masks.areas().tolist() == [1.0, 1.0]
    assert torch.equal(sample.masks.boxes(), sample.boxes)


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize("format", ["coco", "masks"])
def test_they_are_learnt(format: str, tmp_path: Path) -> None:
    data = write(format, tmp_path)
    model = MaskRCNN(tiny(data.class_names, data.category_ids)).train()
    images, targets, _ = collate([data[0], data[1]])
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert all(math.isfinite(float(loss.detach())) for loss in losses.values())
    assert float(losses["loss_rpn_box_reg"].detach()) > 0
    assert float(losses["loss_mask"].detach()) > 0
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)


@pytest.mark.usefixtures("pixels")
def test_a_found_pixel_counts_in_full(tmp_path: Path) -> None:
    data = write("coco", tmp_path)
    evaluator = CocoEvaluator(data.content)
    for sample in data:
        count = len(sample)
        found = Detections(
            boxes=sample.boxes,
            scores=torch.ones(count),
            labels=sample.labels,
            mask_probs=torch.ones(count, 28, 28),
            image_size=(sample.image.shape[1], sample.image.shape[2]),
            class_names=data.class_names,
            category_ids=data.category_ids,
        )
        evaluator.update(sample.image_id, found)
    result = evaluator.summarize()
    assert result.box_ap == pytest.approx(1.0)
    assert result.mask_ap == pytest.approx(1.0)


@pytest.mark.parametrize("box", [[5, 8, 0, 0], [5, 8, 1, 1], None])
def test_the_box_of_one_pixel_may_be_written_in_any_way(box: list[float] | None, tmp_path: Path) -> None:
    """Some tools take the last column less the first for the width."""
    from tests.data.readers.same_scene import write_image, write_json

    write_image(tmp_path / "a.png")
    outline = same_scene.corners(PLACE)
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": same_scene.HEIGHT, "width": same_scene.WIDTH}],
        "categories": [{"id": 1, "name": "dust"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [outline], "bbox": box}],
    }
    data = open_dataset(write_json(tmp_path / "coco.json", document))
    assert data[0].boxes.tolist() == [list(map(float, PLACE))]
