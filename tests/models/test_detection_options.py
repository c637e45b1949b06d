"""Soft-NMS, NMS of masks and more detections: options of a model's configuration, on every path."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from fastmrcnn.models import FixedCapacityDetector, MaskRCNN, MaskRCNNConfig, set_detection_options, tiny
from fastmrcnn.ops import mask_intersections, overlapping_pairs
from fastmrcnn.weights import load_model, save_model
from tests.models.small import images_of
from tests.models.test_fixed_capacity import SIZES, assert_same, detecting_model


@pytest.mark.parametrize("nms", ["linear", "gaussian"])
def test_soft_nms_on_the_path_of_fixed_shapes(nms: str) -> None:
    model, images = detecting_model(nms=nms, score_threshold=0.3, detections=60), images_of(*SIZES)
    with torch.no_grad():
        padded, trimmed = model.detect_padded(images), model(images)
    assert padded.boxes.shape[1] == 60
    for image, found in enumerate(trimmed):
        count = int(padded.counts[image])
        assert 0 < len(found) == count
        torch.testing.assert_close(padded.scores[image, :count], found.scores)
        assert (found.scores.diff() <= 0).all()
        assert (padded.scores[image, count:] == 0).all()


def test_soft_nms_compiled() -> None:
    model = detecting_model(nms="gaussian", score_threshold=0.3, detections=60)
    with torch.no_grad():
        batch = model.transform(images_of(*SIZES))
        compiled = torch.compile(FixedCapacityDetector(model), fullgraph=True, backend="eager")
        assert_same(
            compiled(batch.pixels, batch.image_sizes), FixedCapacityDetector(model)(batch.pixels, batch.image_sizes)
        )


def test_soft_nms_keeps_what_nms_drops() -> None:
    images = images_of(*SIZES)
    with torch.no_grad():
        hard = detecting_model(nms_iou=0.3, score_threshold=0.4, detections=500)(images)
        soft = detecting_model(nms="gaussian", score_threshold=0.4, detections=500)(images)
    for one, other in zip(hard, soft, strict=True):
        assert len(one) < len(other)
        assert one.scores[0] == other.scores[0]


def test_masks_of_a_class_share_little() -> None:
    images = images_of(*SIZES)
    model = detecting_model(nms="mask", nms_iou=0.3, score_threshold=0.3, detections=50)
    with torch.no_grad():
        candidates, found = model.detect_padded(images), model(images)
    for count, one in zip(candidates.counts.tolist(), found, strict=True):
        assert 1 < len(one) <= 50 < count <= 200
        masks = one.run_lengths
        pairs = overlapping_pairs(masks.boxes())
        pairs = pairs[one.labels[pairs[:, 0]] == one.labels[pairs[:, 1]]]
        shared = mask_intersections(masks, pairs)
        iou = shared / (masks.areas()[pairs].sum(dim=1) - shared)
        assert (iou <= 0.3).all()
        assert one.mask_probs is not None  # nothing is pasted but for the comparison
        assert (one.scores.diff() <= 0).all()


def test_options_of_a_loaded_model_change_its_detections_and_are_kept(tmp_path: Path) -> None:
    model, images = detecting_model(score_threshold=0.0), images_of(*SIZES)
    with torch.no_grad():
        assert [len(found) for found in model(images)] == [100, 100]
        set_detection_options(model, max_detections=150, score_threshold=0.01)
        assert [len(found) for found in model(images)] == [150, 150]
        set_detection_options(model, nms="gaussian", nms_iou=0.4)
        expected = model(images)
    head, rpn = model.config.box_head, model.config.rpn
    assert head is not None
    assert (head.detections, head.nms, head.nms_iou, head.score_threshold) == (150, "gaussian", 0.4, 0.01)
    assert (rpn.post_nms_test, rpn.pre_nms_test) == (300, 500)
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors").eval()
    assert again.config == model.config
    with torch.no_grad():
        for one, other in zip(again(images), expected, strict=True):
            torch.testing.assert_close(one.scores, other.scores)


def test_options_that_a_model_cannot_have() -> None:
    model = MaskRCNN(tiny(["coin"]))
    with pytest.raises(ValueError, match="BoxHeadConfig: nms must be box, linear, gaussian or mask; got 'hard'"):
        set_detection_options(model, nms="hard")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="BoxHeadConfig: detections must be positive; got 0"):
        set_detection_options(model, max_detections=0)
    assert model.config == tiny(["coin"])
    boxes_alone = dataclasses.replace(tiny(["coin"]), mask_head=None)
    with pytest.raises(ValueError, match=r"MaskRCNNConfig: box_head\.nms mask needs a mask_head; got None"):
        set_detection_options(MaskRCNN(boxes_alone), nms="mask")
    proposals_alone = dataclasses.replace(boxes_alone, box_head=None)
    with pytest.raises(ValueError, match="set_detection_options: the model must have a box head"):
        set_detection_options(MaskRCNN(proposals_alone), max_detections=7)


def test_an_older_configuration_has_the_nms_of_boxes() -> None:
    values = tiny(["coin"]).to_dict()
    del values["box_head"]["nms"], values["box_head"]["nms_sigma"]
    assert MaskRCNNConfig.from_dict(values) == tiny(["coin"])
