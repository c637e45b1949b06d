"""The whole of Matterport's Mask R-CNN, from the image to bitmaps, against a reference in plain numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.presets.matterport import at_least
from fastmrcnn.structures import Detections
from fastmrcnn.weights.matterport import from_matterport
from tests.models.matterport_network import Found, Network, decisive_network

PROPOSALS, DETECTIONS, CONFIDENCE = 60, 20, 0.5


def image_of(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def model_of(network: Network) -> MaskRCNN:
    """The model with the weights and the settings of the reference, in float64."""
    weights = {name: torch.from_numpy(values) for name, values in network.weights.items()}
    loaded = from_matterport({name: values.float() for name, values in weights.items()})
    config = loaded.config
    assert config.box_head is not None
    config = dataclasses.replace(
        config,
        input=dataclasses.replace(config.input, min_size=network.least, max_size=network.frame),
        rpn=dataclasses.replace(config.rpn, pre_nms_test=network.before, post_nms_test=network.after),
        box_head=dataclasses.replace(
            config.box_head, score_threshold=at_least(network.confidence), detections=network.detections
        ),
    )
    model = MaskRCNN(config).eval()
    model.load_state_dict(loaded.state_dict())
    return model.double()


# Scaled by two or kept, so that no grey value is cut off by a hair here and not there.
@pytest.mark.parametrize(
    ("size", "least", "seed"), [((50, 64), 100, 1), ((64, 40), 80, 2), ((128, 100), 64, 34), ((100, 70), 64, 19)]
)
def test_detections_are_those_of_the_reference(size: tuple[int, int], least: int, seed: int) -> None:
    image = image_of(*size, seed)
    network = decisive_network(
        image, seed, frame=128, least=least, confidence=CONFIDENCE,
        before=1500, after=PROPOSALS, detections=DETECTIONS,
    )  # fmt: skip
    [found] = model_of(network).detect([torch.from_numpy(image).permute(2, 0, 1)])
    assert len(found) > 5
    assert_same(found, network.detect(image))


def test_a_batch_of_unequal_images() -> None:
    images = [image_of(*size, seed=5) for size in ((128, 100), (70, 96), (100, 128))]
    network = decisive_network(
        images[0], 5, frame=128, least=64, confidence=CONFIDENCE, before=1500, after=PROPOSALS, detections=DETECTIONS
    )
    found = model_of(network).detect([torch.from_numpy(image).permute(2, 0, 1) for image in images])
    for of_image, image in zip(found, images, strict=True):
        assert_same(of_image, network.detect(image))


def assert_same(found: Detections, expected: list[Found]) -> None:
    assert (found.labels + 1).tolist() == [one.label for one in expected]
    assert found.boxes.tolist() == [one.box[[1, 0, 3, 2]].tolist() for one in expected]
    np.testing.assert_allclose(found.scores.numpy(), [one.score for one in expected], rtol=0, atol=1e-5)
    for bitmap, one in zip(found.masks.numpy(), expected, strict=True):
        np.testing.assert_array_equal(bitmap, one.mask)
