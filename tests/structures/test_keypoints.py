"""The keypoints of Detections: chosen with their instances, drawn, and in the forms in which they leave."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fastmrcnn.structures import Detections

NAMES = ("left_hip", "left_knee", "tail")


def people(count: int = 3, **changes: object) -> Detections:
    """``count`` instances of three keypoints each in an image of 60 x 80 pixels, without masks."""
    corner = 12.0 * torch.arange(count)[:, None] + torch.tensor([2.0, 4.0])  # [N, 2]
    places = corner[:, None] + torch.tensor([[2.0, 23.0], [18.0, 23.0], [5.0, 33.0]])  # [N, 3, 2]
    scores = torch.linspace(0.9, 0.1, 3 * count).reshape(count, 3, 1)
    values: dict[str, object] = {
        "boxes": torch.cat([corner, corner + 11], dim=1),
        "scores": torch.linspace(0.9, 0.3, count),
        "labels": torch.zeros(count, dtype=torch.int64),
        "mask_probs": None,
        "image_size": (60, 80),
        "class_names": ("person",),
        "category_ids": (1,),
        "keypoints": torch.cat([places, scores], dim=2),
        "keypoint_names": NAMES,
    }
    return Detections(**{**values, **changes})  # type: ignore[arg-type]


def test_they_go_with_their_instances() -> None:
    found = people()
    assert found.keypoints is not None
    for part, chosen in ((found[1], [1]), (found[[2, 0]], [2, 0]), (found.filter(score=0.8), [0]), (found[:0], [])):
        assert torch.equal(part.keypoints, found.keypoints[chosen])
        assert part.keypoint_names == NAMES
    assert found.to("cpu").keypoints is not None


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^Detections: keypoints must be \[3, 2, 3\]; got \[3, 3, 3\]$"):
        people(keypoint_names=NAMES[:2])
    with pytest.raises(ValueError, match=r"^Detections: keypoints must be \[3, 3, 3\]; got \[3, 3, 2\]$"):
        people(keypoints=torch.zeros(3, 3, 2))


def test_coco_results_count_pixels_as_the_annotations_do() -> None:
    results = people(keypoint_offset=0.5).to_coco(7)
    assert results[1]["keypoints"] == pytest.approx([15.5, 38.5, 1, 31.5, 38.5, 1, 18.5, 48.5, 1])
    assert results[1]["keypoint_scores"] == pytest.approx([0.6, 0.5, 0.4])
    assert "segmentation" not in results[1]
    assert people().to_coco(7)[1]["keypoints"][:3] == pytest.approx([16, 39, 1])
    json.dumps(results)


def test_without_keypoints_nothing_is_said_of_them() -> None:
    found = people(keypoints=None, keypoint_names=())
    assert "keypoints" not in found.to_coco(1)[0]
    assert set(found.to_torchvision()) == {"boxes", "labels", "scores"}
    assert found[:2].keypoints is None


def test_torchvisions_dict() -> None:
    found = people()
    result = found.to_torchvision()
    assert found.keypoints is not None
    assert torch.equal(result["keypoints"][..., :2], found.keypoints[..., :2])
    assert (result["keypoints"][..., 2] == 1).all()
    assert torch.equal(result["keypoints_scores"], found.keypoints[..., 2])


def test_plot_draws_those_above_the_score() -> None:
    found, image = people(1), np.zeros((60, 80, 3), np.uint8)
    without = np.asarray(people(1, keypoints=None).plot(image)).any(axis=2)
    everything = np.asarray(found.plot(image)).any(axis=2) & ~without
    sure = np.asarray(found.plot(image, keypoint_score=0.4)).any(axis=2) & ~without
    assert everything[37, 7]  # the tail, of score 0.1
    assert not sure[37, 7]
    assert sure[27, 12]  # between hip and knee, which are joined
