"""Test-time augmentation: what all views of an image agree on, each mapped back to where it belongs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastmrcnn.data.scenes import render_scene
from fastmrcnn.errors import UserError
from fastmrcnn.inference import AugmentedDetector, predict_tiled
from fastmrcnn.models import KeypointHeadConfig, MaskRCNN, set_detection_options, tiny
from fastmrcnn.ops import batched_nms
from fastmrcnn.weights import load_model
from tests.models.matterport_small import small_config

SCENES = [np.ascontiguousarray(render_scene(number, seed=77, split="val").image) for number in range(2)]


def test_one_plain_view_is_the_model() -> None:
    model = load_model("tiny")
    found = AugmentedDetector(model, flip=False).predict(SCENES, batch_size=2)
    for one, other in zip(found, model.predict(SCENES, batch_size=2), strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)
        torch.testing.assert_close(one.mask_probs, other.mask_probs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.3)])
def test_a_mirrored_image_gives_mirrored_objects(scales: tuple[float, ...]) -> None:
    """Both have the same views, in another order: whatever is mapped back wrongly breaks the symmetry."""
    model = load_model("tiny")
    detector = AugmentedDetector(model, scales=scales)
    found = detector.predict(SCENES[0], score_threshold=0.3)
    mirrored = detector.predict(SCENES[0][:, ::-1], score_threshold=0.3)
    assert len(found) == len(mirrored) > 3
    width = SCENES[0].shape[1]
    torch.testing.assert_close(mirrored.scores, found.scores)
    torch.testing.assert_close(mirrored.boxes[:, [0, 2]], width - found.boxes[:, [2, 0]], atol=1e-3, rtol=0)
    assert found.mask_probs is not None
    torch.testing.assert_close(mirrored.mask_probs, found.mask_probs.flip(2), atol=1e-3, rtol=0)
    alone = model.predict(SCENES[0][:, ::-1], score_threshold=0.3)
    assert len(alone) != len(mirrored) or not torch.equal(
        alone.scores, mirrored.scores
    )  # it is no symmetry of one view


def test_boxes_are_thinned_over_all_views_and_masks_are_means() -> None:
    model = load_model("tiny")
    views = [AugmentedDetector(model, scales=(scale,), flip=False).predict(SCENES[1]) for scale in (0.8, 1.0, 1.25)]
    merged = AugmentedDetector(model, scales=(0.8, 1.0, 1.25), flip=False).predict(SCENES[1])
    boxes, scores, labels = (
        torch.cat([getattr(view, name) for view in views]) for name in ("boxes", "scores", "labels")
    )
    keep = batched_nms(boxes, scores, labels, model.config.box_head.nms_iou)[:100]
    assert torch.equal(merged.boxes, boxes[keep])
    assert torch.equal(merged.scores, scores[keep])
    means = []
    with torch.no_grad():
        for scale in (0.8, 1.0, 1.25):
            batch = model.transform([torch.from_numpy(SCENES[1]).permute(2, 0, 1)], scale=scale)
            ratio = torch.tensor(batch.sizes[0]) / torch.tensor(merged.image_size)
            rois = merged.boxes * ratio.flip(0).repeat(2)
            heads = model.roi_heads
            regions = heads.regions(model.features(batch.pixels), [rois], heads.mask_head.config.pooler)
            means.append(heads.mask_head.probabilities(heads.mask_head(regions), merged.labels + 1) / 3)
    torch.testing.assert_close(merged.mask_probs, sum(means), atol=1e-4, rtol=0)


@pytest.mark.parametrize("nms", ["gaussian", "mask"])
def test_with_other_kinds_of_nms(nms: str) -> None:
    model = load_model("tiny")
    set_detection_options(model, nms=nms, max_detections=20)  # type: ignore[arg-type]
    found = AugmentedDetector(model, scales=(1.0, 1.25)).predict(SCENES[0])
    assert 3 < len(found) <= 20
    assert (found.scores.diff() <= 0).all()


def test_in_tiles_and_of_models_without_masks() -> None:
    detector = AugmentedDetector(load_model("tiny"), scales=(1.0, 1.2))
    found = predict_tiled(detector, SCENES[0], tile=160, score_threshold=0.5)
    assert len(found) > 3
    torch.manual_seed(0)
    config = replace(tiny(["coin"]), mask_head=None)
    config = replace(config, box_head=replace(config.box_head, score_threshold=0.0))
    boxes_alone = AugmentedDetector(MaskRCNN(config)).predict(torch.rand(3, 64, 96))
    assert len(boxes_alone) > 0
    assert not boxes_alone.has_masks


def test_a_model_of_whole_pixels_in_a_square() -> None:
    """Matterport's."""
    torch.manual_seed(0)
    found = AugmentedDetector(MaskRCNN(small_config())).predict(torch.rand(3, 60, 90))
    assert len(found) > 0
    assert torch.equal(found.boxes, found.boxes.round())
    assert found.boxes.min() >= 0
    assert (found.boxes.amax(dim=0) <= torch.tensor([90, 60, 90, 60])).all()


def test_nothing_found_in_any_view() -> None:
    model = load_model("tiny")
    set_detection_options(model, score_threshold=0.999)
    found = AugmentedDetector(model, scales=(0.5, 1.0)).predict([np.zeros((80, 120, 3), np.uint8)] * 2, batch_size=2)
    assert [len(one) for one in found] == [0, 0]
    assert found[0].masks.shape == (0, 80, 120)


def test_models_and_scales_that_do_not_fit() -> None:
    config = tiny(["coin"])
    with pytest.raises(UserError, match=r"tta_scales must be positive; got 1, -0.5"):
        AugmentedDetector(MaskRCNN(config), scales=(1.0, -0.5))
    with pytest.raises(UserError, match=r"expected a model of boxes, with masks or not; it finds keypoints"):
        keypoints = KeypointHeadConfig(keypoint_names=("tip",), channels=8, convolutions=1)
        AugmentedDetector(MaskRCNN(replace(config, keypoint_head=keypoints)))
    square = replace(config, input=replace(config.input, frame="centred_square"))
    with pytest.raises(UserError, match=r"expected no tta_scales for a model that has images in a sq.* got 0.5, 1"):
        AugmentedDetector(MaskRCNN(square), scales=(0.5, 1.0))
    assert len(AugmentedDetector(MaskRCNN(square)).views) == 2
