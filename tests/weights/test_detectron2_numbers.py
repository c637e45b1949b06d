"""detectron2's numbers: the same file through the package and through plain numpy (tests/weights/detectron2_numpy.py).

In float64, where both are exact to some 1e-13 and no decision hangs on the last bit. What is compared is every stage,
from the size of the resized image to the pixels of the pasted masks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastmrcnn.models import MaskRCNN, MaskRCNNConfig, detectron2_rcnn
from fastmrcnn.ops import generate_proposals
from fastmrcnn.structures import Detections
from fastmrcnn.weights import from_detectron2
from tests.weights import detectron2_numpy as reference
from tests.weights.detectron2_files import Kind, random_state
from tests.weights.numpy_layers import sigmoid

MIN_SIZE, MAX_SIZE, CANDIDATES, PROPOSALS, DETECTIONS = 128, 200, 60, 150, 60

NARROW = {"width": 8, "channels": 16, "hidden": 32, "classes": 5}
KINDS = {
    "FPN": Kind(**NARROW),
    "ResNeXt": Kind(**NARROW | {"width": 32}, groups=4, group_width=8),
    "C4": Kind(neck="c4", **NARROW),
    "DC5": Kind(neck="dc5", **NARROW),
    "Faster R-CNN": Kind(masks=False, **NARROW),
    "SyncBN": Kind(norm="SyncBN", **NARROW),
    "class-agnostic": Kind(agnostic=True, **NARROW),
    "GN": Kind(norm="GN", **NARROW | {"width": 32, "channels": 32}),
    "Keypoint R-CNN": Kind(masks=False, keypoints=True, **NARROW | {"classes": 1}, keypoint_channels=16),
}


def settings_of(kind: Kind) -> reference.Settings:
    msra = kind.groups == 1 and kind.norm != "GN"  # STRIDE_IN_1X1 of mask_rcnn_R_50_FPN_3x_syncbn.yaml is True
    return reference.Settings(
        neck=kind.neck,
        stride_in_1x1=msra,
        pixel_std=(1.0, 1.0, 1.0) if kind.groups == 1 else (57.375, 57.12, 58.395),
        min_size=MIN_SIZE,
        max_size=MAX_SIZE,
        pre_nms=CANDIDATES,
        post_nms=PROPOSALS,
        detections=DETECTIONS,
    )


def limited(config: MaskRCNNConfig) -> MaskRCNNConfig:
    """The same mathematics for small images and few boxes."""
    assert config.box_head is not None
    return replace(
        config,
        input=replace(config.input, min_size=MIN_SIZE, max_size=MAX_SIZE, train_min_sizes=()),
        rpn=replace(config.rpn, pre_nms_test=CANDIDATES, post_nms_test=PROPOSALS),
        box_head=replace(config.box_head, detections=DETECTIONS),
    )


def model_of(state: dict[str, np.ndarray]) -> MaskRCNN:
    tensors = {name: torch.from_numpy(values) for name, values in state.items()}
    return from_detectron2(tensors, config=limited(from_detectron2(tensors).config))


def blocky_image(height: int, width: int) -> np.ndarray:
    """[height, width, 3] uint8: coloured squares."""
    rng = np.random.default_rng(height)
    squares = rng.integers(0, 256, (-(-height // 9), -(-width // 9), 3), dtype=np.uint8)
    return squares.repeat(9, axis=0).repeat(9, axis=1)[:height, :width]


def assert_same(found: Detections, expected: reference.Found, *, kind: Kind) -> None:
    assert len(found) == len(expected.scores) >= 10  # the comparison must not be an empty one
    np.testing.assert_array_equal(found.labels.numpy(), expected.classes)
    np.testing.assert_allclose(found.scores.numpy(), expected.scores, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.boxes.numpy(), expected.boxes, rtol=0, atol=1e-9)
    if kind.keypoints:
        assert found.keypoints is not None
        np.testing.assert_allclose(found.keypoints.numpy(), expected.keypoints, rtol=1e-10, atol=1e-9)
    if kind.masks:
        assert expected.masks.any()
        np.testing.assert_array_equal(found.masks.numpy(), expected.masks)
    else:
        assert found.mask_probs is None


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@torch.inference_mode()
def test_detections(kind: Kind) -> None:
    """Images that are enlarged, shrunk to max_size, and that neither side of the frame's multiple of 32 fits."""
    state = random_state(kind)
    model = model_of(state).double()
    for image in (blocky_image(53, 81), blocky_image(149, 100))[: 1 if kind.width > 8 else 2]:
        [found] = model([torch.from_numpy(image.copy()).permute(2, 0, 1)])
        assert_same(found, reference.detect(state, image, settings_of(kind)), kind=kind)


@torch.inference_mode()
def test_images_of_unequal_size_in_one_batch() -> None:
    """Of a pyramid an image sees the common frame: the reference has it as its own, padded to the largest."""
    state = random_state(KINDS["FPN"])
    model = model_of(state).double()
    small, large = blocky_image(53, 81), blocky_image(128, 193)
    images = [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in (small, large)]
    batch = model.transform(images)
    assert batch.sizes == [(128, 196), (128, 193)]
    assert batch.pixels.shape == (2, 3, 128, 224)
    for found, image in zip(model(images), (small, large), strict=True):
        assert_same(found, reference.detect(state, image, settings_of(KINDS["FPN"])), kind=KINDS["FPN"])


@torch.inference_mode()
def test_float32_is_close() -> None:
    """As users run it. Scores and boxes within the rounding of two convolution libraries."""
    state = random_state(KINDS["FPN"])
    image = blocky_image(53, 81)
    [found] = model_of(state)([torch.from_numpy(image.copy()).permute(2, 0, 1)])
    expected = reference.detect(state, image, settings_of(KINDS["FPN"]))
    np.testing.assert_array_equal(found.labels.numpy(), expected.classes)
    np.testing.assert_allclose(found.scores.numpy(), expected.scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.boxes.numpy(), expected.boxes, rtol=0, atol=1e-3)


def test_the_narrowest_boxes_are_kept_and_empty_ones_dropped() -> None:
    """detectron2 asks for sides above zero, torchvision for a thousandth (proposals) and a hundredth (detections)."""
    config = detectron2_rcnn(["cat"], neck="c4")
    proposals = generate_proposals(
        [torch.tensor([[[[3.0, 2.0, 1.0]]]])],
        [torch.tensor([[[[0.0, 0, 40]], [[0, 0, 0]], [[0, -12, 0]], [[0, 0, 0]]]])],  # the last one is off the image
        [torch.tensor([[0.0, 0, 32, 32], [16, 0, 48, 32], [0, 0, 32, 32]])],
        [(64, 64)],
        min_size=config.rpn.min_box_size,
    )
    assert proposals.counts.tolist() == [2]
    width = (proposals.boxes[0, 1, 2] - proposals.boxes[0, 1, 0]).item()
    assert 1e-4 < width < 3e-4
    assert config.box_head is not None
    assert config.box_head.min_box_size == config.rpn.min_box_size


def test_region_proposals_alone() -> None:
    kind = Kind(boxes=False, masks=False, **NARROW)
    state = random_state(kind)
    tensors = {name: torch.from_numpy(values) for name, values in state.items()}
    config = from_detectron2(tensors).config
    config = replace(
        config,
        input=replace(config.input, min_size=MIN_SIZE, max_size=MAX_SIZE, train_min_sizes=()),
        rpn=replace(config.rpn, pre_nms_test=CANDIDATES, post_nms_test=PROPOSALS),
    )
    image, settings = blocky_image(53, 81), settings_of(kind)
    with torch.inference_mode():
        [found] = from_detectron2(tensors, config=config).double()([torch.from_numpy(image.copy()).permute(2, 0, 1)])
    pixels = reference.network_input(image, settings)
    padded = np.pad(pixels, ((0, 0), (0, -pixels.shape[1] % 32), (0, -pixels.shape[2] % 32)))
    maps = reference.feature_maps(state, padded, settings)
    boxes, logits = reference.proposals(state, maps, pixels.shape[1:], settings)
    scale = np.tile([81 / pixels.shape[2], 53 / pixels.shape[1]], 2)
    assert len(found) == len(boxes) >= 10
    np.testing.assert_allclose(found.boxes.numpy(), boxes * scale, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.scores.numpy(), sigmoid(logits), rtol=0, atol=1e-11)
