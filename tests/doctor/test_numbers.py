"""What a data set holds, and what the anchors cover of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fastmrcnn.data.annotations import ImageRecord, ObjectRecord
from fastmrcnn.doctor import measure, report_anchors
from fastmrcnn.doctor.anchors import best_ious
from fastmrcnn.doctor.images import ExaminedImage
from fastmrcnn.doctor.objects import Measured
from fastmrcnn.doctor.problem import Findings
from fastmrcnn.doctor.summary import describe_anchors
from fastmrcnn.models import tiny
from fastmrcnn.models.config import AnchorConfig
from fastmrcnn.ops import box_iou, generate_anchors
from tests.doctor.patients import Document, diagnose, rectangle


def test_statistics(tmp_path: Path) -> None:
    def plant(document: Document, images: Path) -> None:
        document["annotations"] = [item for item in document["annotations"] if item["image_id"] != 4]
        document["annotations"][0] |= {"segmentation": [[1, 2, 3, 4]]}  # left out

    [split], _ = diagnose(tmp_path, plant)
    numbers = measure(split.content, split.images)
    assert (numbers.images, numbers.images_without_objects) == (4, 1)
    assert (numbers.objects, numbers.crowds, numbers.polygons, numbers.one_pixel_masks) == (11, 1, 11, 3)
    assert (numbers.small, numbers.medium, numbers.large) == (11, 0, 0)
    assert numbers.image_sizes == {"40 x 30": 4}
    assert numbers.objects_per_image == [0.0, 0.9, 3.5, 4.0, 4.0]
    assert numbers.object_side[0] == 1.0
    assert numbers.aspect_ratio[-1] == pytest.approx(19 / 5)
    car, person = numbers.classes
    assert (car.name, car.images, car.objects, car.crowds, car.median_area) == ("car", 3, 5, 0, 36.0)
    assert (person.images, person.objects, person.crowds) == (3, 6, 1)
    assert car.share == pytest.approx(5 / 11)


def test_the_best_anchor_is_that_of_the_whole_grid() -> None:
    config = AnchorConfig(sizes=((16,), (32,)), aspect_ratios=(0.5, 1.0, 2.0))
    draws = np.random.default_rng(0)
    corners = draws.uniform(20, 200, (200, 2))
    boxes = np.concatenate([corners, corners + draws.uniform(2, 50, (200, 2))], axis=1)
    strides = [(4, 4), (8, 8)]
    levels = generate_anchors(
        (256, 256),
        [(64, 64), (32, 32)],
        strides,
        config.sizes,
        [config.aspect_ratios] * 2,
        rounded=False,
        dtype=torch.float64,
    )
    expected = box_iou(torch.from_numpy(boxes), torch.cat(levels)).amax(dim=1)
    torch.testing.assert_close(torch.from_numpy(best_ious(boxes, config, [4, 8])), expected, rtol=1e-6, atol=1e-6)


def images_with(width: float, height: float) -> list[ExaminedImage]:
    """Images of 320 x 320 pixels with boxes of one size at many places."""
    images = []
    for number in range(20):
        left, top = 10.0 + 3 * number, 20.0 + 5 * number
        box = np.array([[left, top, left + width, top + height]], dtype=np.float32)
        item = ObjectRecord(number, 1, rectangle(left, top, left + width, top + height))
        measured = Measured([item], box, np.array([width * height], dtype=np.float32))
        record = ImageRecord(number, f"{number}.png", 320, 320)
        images.append(ExaminedImage(record, True, Findings("train", "x"), measured))
    return images


def test_objects_that_the_anchors_fit() -> None:
    report = report_anchors(images_with(32, 32), tiny(("a",)))
    assert report is not None
    assert report.coverage.good == 1.0
    assert report.suggestion is None
    assert (report.smaller, report.larger) == (0.0, 0.0)


def test_long_objects_get_other_ratios() -> None:
    report = report_anchors(images_with(120, 12), tiny(("a",)))
    assert report is not None
    assert report.coverage.good == 0.0
    assert report.suggestion is not None
    assert report.suggested is not None
    assert report.suggested.good > 0.9
    assert report.suggestion.aspect_ratios == pytest.approx((0.05, 0.1, 0.2))
    assert report.options == "--anchor-scale 1.4 --anchor-ratios 0.05 0.1 0.2"
    assert f"suggestion: train with {report.options}, for" in describe_anchors(report, "tiny")


def test_small_objects_get_small_anchors() -> None:
    report = report_anchors(images_with(6, 6), tiny(("a",)))
    assert report is not None
    assert report.smaller == 1.0
    assert report.suggestion is not None
    assert min(report.suggestion.sizes)[0] < 10
    assert report.options == "--anchor-scale 0.5"


def test_no_objects_have_no_anchors() -> None:
    assert report_anchors([], tiny(("a",))) is None
