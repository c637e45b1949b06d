"""Detections in the forms of torchvision and supervision, there and back."""

from __future__ import annotations

import builtins
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.structures import Detections
from tests.structures.test_detections import NAMES, some


@pytest.fixture(scope="module")
def supervision() -> ModuleType:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "OpenCV")  # which it can do without, but says so
        module: ModuleType = pytest.importorskip("supervision", reason="supervision is not installed")
    return module


def assert_same(one: Detections, other: Detections) -> None:
    for name in ("boxes", "scores", "labels"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert getattr(one, name).dtype == getattr(other, name).dtype, name
    assert one.names == other.names
    assert one.image_size == other.image_size
    assert one.has_masks == other.has_masks
    if one.has_masks:
        assert one.rle == other.rle


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("form", ["probabilities", "runs", "boxes alone"])
def test_torchvision_there_and_back(count: int, form: str) -> None:
    found = some(count, paste_method="torchvision")
    if form == "runs":
        found = some(count, mask_probs=None, mask_runs=found.run_lengths)
    elif form == "boxes alone":
        found = some(count, mask_probs=None)
    again = Detections.from_torchvision(
        found.to_torchvision(), NAMES, category_ids=found.category_ids, image_size=found.image_size
    )
    assert_same(again, found)
    assert again.category_ids == found.category_ids
    assert again.to_coco(1) == found.to_coco(1)


def test_a_model_of_torchvision() -> None:
    detection = pytest.importorskip("torchvision.models.detection", reason="torchvision is not installed")
    backbone = detection.backbone_utils.resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    limits = {"min_size": 64, "max_size": 96, "box_score_thresh": 0.0, "box_detections_per_img": 6}
    model = detection.MaskRCNN(backbone, num_classes=4, **limits)
    with torch.no_grad():
        [result] = model.eval()([torch.rand(3, 64, 96)])
    assert len(result["boxes"]) == 6
    found = Detections.from_torchvision(result, ("__background__", *NAMES))
    assert found.image_size == (64, 96)
    assert found.class_names == NAMES
    assert found.names == [NAMES[label - 1] for label in result["labels"].tolist()]
    assert torch.equal(found.masks, result["masks"][:, 0] >= 0.5)
    again = found.to_torchvision()
    assert {name: (value.shape, value.dtype) for name, value in again.items()} == {
        name: (value.shape, value.dtype) for name, value in result.items()
    }


def test_keypoints_of_torchvision() -> None:
    keypoints = torch.rand(2, 3, 3)
    found = some(2, mask_probs=None, keypoints=keypoints, keypoint_names=("a", "b", "c"))
    again = Detections.from_torchvision(found.to_torchvision(), NAMES, image_size=(30, 40))
    assert again.keypoints is not None
    assert torch.equal(again.keypoints, keypoints)
    assert again.keypoint_names == ("1", "2", "3")
    names = ("x", "y", "z")
    named = Detections.from_torchvision(found.to_torchvision(), NAMES, image_size=(30, 40), keypoint_names=names)
    assert named.keypoint_names == names


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_supervision_there_and_back(supervision: ModuleType, count: int, compact: bool) -> None:
    found = some(count)
    other = found.to_supervision(compact=compact)
    assert isinstance(other, supervision.Detections)
    assert len(other) == count
    assert isinstance(other.mask, np.ndarray) != compact
    assert np.array_equal(np.asarray(other.mask), found.masks.numpy())
    assert other.class_id.tolist() == found.labels.tolist()
    assert other.data["class_name"].tolist() == found.names
    assert np.array_equal(other.xyxy, found.boxes.numpy())
    assert np.array_equal(other.confidence, found.scores.numpy())
    assert_same(Detections.from_supervision(other, NAMES, category_ids=(7, 3, 11), image_size=(30, 40)), found)


def test_supervision_works_with_them(supervision: ModuleType) -> None:
    other = some(6).to_supervision()
    chosen = other[other.class_id == 1]
    assert Detections.from_supervision(chosen).names == ["ring", "ring"]
    picture = supervision.MaskAnnotator().annotate(np.zeros((30, 40, 3), np.uint8), other)
    assert (picture.any(axis=2) <= other.mask.any(axis=0)).all()
    assert picture.any()


def test_names_that_supervision_knows(supervision: ModuleType) -> None:
    boxes = np.array([[1.0, 2.0, 5.0, 6.0], [0.0, 0.0, 3.0, 3.0]])
    other = supervision.Detections(xyxy=boxes, class_id=np.array([3, 1]), data={"class_name": np.array(["d", "b"])})
    found = Detections.from_supervision(other, image_size=(10, 12))
    assert found.class_names == ("0", "b", "2", "d")
    assert found.names == ["d", "b"]
    assert found.scores.tolist() == [1.0, 1.0]
    assert not found.has_masks
    bare = Detections.from_supervision(supervision.Detections(xyxy=boxes), image_size=(10, 12))
    assert bare.names == ["0", "0"]
    none = Detections.from_supervision(supervision.Detections.empty(), image_size=(10, 12))
    assert len(none) == 0


def test_without_supervision_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def missing(name: str, *rest: Any, **others: Any) -> Any:
        if name == "supervision":
            raise ImportError(name)
        return original(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"to_supervision: .*the package supervision: pip install supervision$"):
        some(1).to_supervision()


def test_refusals() -> None:
    result = some(2).to_torchvision()
    with pytest.raises(ValueError, match=r"^from_torchvision: labels must be within 1..1, .*; got 1..2$"):
        Detections.from_torchvision(result, ["disk"])
    with pytest.raises(ValueError, match=r"^from_torchvision: expected boxes, labels and scores; scores is missing$"):
        Detections.from_torchvision({"boxes": result["boxes"], "labels": result["labels"]}, NAMES)
    with pytest.raises(ValueError, match=r"^from_torchvision: masks must be \[N, 1, height, width\]; got \[2, 30, 40"):
        Detections.from_torchvision({**result, "masks": result["masks"][:, 0]}, NAMES)
    del result["masks"]
    with pytest.raises(ValueError, match=r"^from_torchvision: image_size must be given where there are no masks"):
        Detections.from_torchvision(result, NAMES)


def test_polygons_are_those_of_the_masks() -> None:
    found = some(3)
    polygons = found.polygons()
    assert [len(own) > 0 for own in polygons] == found.masks.flatten(1).any(dim=1).tolist()
    areas = [sum(_area(ring) for polygon in own for ring in polygon.rings) for own in polygons]
    assert areas == found.masks.flatten(1).sum(dim=1).tolist()
    assert sum(len(ring) for own in found.polygons(2.0) for polygon in own for ring in polygon.rings) < sum(
        len(ring) for own in polygons for polygon in own for ring in polygon.rings
    )


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)
