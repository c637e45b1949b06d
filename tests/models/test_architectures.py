"""Each architecture of the family trains, detects and survives a round trip through its state."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastmrcnn.models import AnchorConfig, BackboneConfig, MaskRCNN, MaskRCNNConfig, PoolerConfig
from tests.models.small import images_of, small_model, target_of

BOTTLENECKS = BackboneConfig(depth=50, width=8, norm="bn")
ONE_MAP = {"anchors": AnchorConfig(sizes=((16, 32, 64),))}
HEADS_OF_C4: dict[str, Any] = {
    "box_head": {"pooler": PoolerConfig(14), "fully_connected": 0},
    "mask_head": {"pooler": PoolerConfig(14), "convolutions": 0, "channels": 8},
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "C4": {"neck": "c4", "backbone": BOTTLENECKS, "rpn": ONE_MAP, **HEADS_OF_C4},
    "C5": {"neck": "c5", "backbone": BOTTLENECKS, "rpn": ONE_MAP},
    "DC5": {"neck": "c5", "backbone": BackboneConfig(depth=50, width=8, norm="bn", dilated=True), "rpn": ONE_MAP},
    "v2 heads": {
        "fpn": {"norm": "bn"},
        "rpn": {"convolutions": 2, "channels": 16},
        "box_head": {"convolutions": 4, "channels": 8, "norm": "bn", "fully_connected": 1, "hidden": 16},
        "mask_head": {"norm": "bn", "channels": 8},
    },
    "normalised layers": {"box_head": {"hidden": 16, "fully_connected_norm": "bn", "norm_eps": 1e-3}},
    "Faster R-CNN": {"mask_head": None},
    "RPN alone": {"mask_head": None, "box_head": None},
}


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> MaskRCNN:
    return small_model(**ARCHITECTURES[request.param])


def test_one_step_reaches_every_parameter(model: MaskRCNN) -> None:
    images = images_of((64, 96), (96, 64))
    targets = [target_of(images[0], [[8, 8, 40, 48]], [1]), target_of(images[1], [[4, 20, 60, 90]], [2])]
    losses = model.train()(images, targets)
    expected = {"loss_objectness", "loss_rpn_box_reg"}
    expected |= {"loss_classifier", "loss_box_reg"} if model.config.box_head else set()
    expected |= {"loss_mask"} if model.config.mask_head else set()
    assert losses.keys() == expected
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_detections(model: MaskRCNN) -> None:
    images = images_of((64, 96), (90, 60))
    with torch.inference_mode():
        found = model.eval()(images)
        padded = model.detect_padded(images)
    assert any(len(detections) for detections in found)
    for index, (detections, image) in enumerate(zip(found, images, strict=True)):
        assert detections.image_size == image.shape[-2:]
        assert (detections.mask_probs is None) == (model.config.mask_head is None)
        count = int(padded.counts[index])
        torch.testing.assert_close(padded.boxes[index, :count], detections.boxes)


def test_configuration_and_state_make_the_same_model(model: MaskRCNN) -> None:
    again = MaskRCNN(MaskRCNNConfig.from_dict(model.config.to_dict()))
    again.load_state_dict(model.state_dict())
    images = images_of((64, 96))
    with torch.inference_mode():
        [found], [expected] = again.eval()(images), model.eval()(images)
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.scores, expected.scores)


def test_stage_5_reads_the_sampled_regions_once() -> None:
    model = small_model(**ARCHITECTURES["C4"]).train()
    assert model.roi_heads is not None
    assert model.roi_heads.res5 is not None
    calls: list[int] = []
    model.roi_heads.res5.register_forward_hook(lambda _, inputs, __: calls.append(inputs[0].shape[0]))
    [image] = images_of((64, 96))
    model([image], [target_of(image, [[8, 8, 40, 48]], [1])])
    assert calls == [64]
