"""detectron2's losses: the package against plain numpy, on samples that are no matter of chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.sampling import Sample
from fastmrcnn.weights import from_detectron2
from tests.weights.detectron2_files import random_state
from tests.weights.detectron2_numpy_losses import first_of_each, losses
from tests.weights.test_detectron2_numbers import KINDS, blocky_image, limited, settings_of

SIZE = (128, 193)  # px; not resized
ANCHORS = 16384  # more than the maps have, so that the sample does not fill its budget
ROIS = 48


def fixed_sampler(labels: Tensor, count: int, fraction: float, _: torch.Generator | None) -> Sample:
    positive, negative = first_of_each(labels.numpy(), count, fraction)
    return Sample.of(torch.from_numpy(positive), torch.from_numpy(negative))


def training_model(state: dict[str, np.ndarray]) -> MaskRCNN:
    tensors = {name: torch.from_numpy(values) for name, values in state.items()}
    config = limited(from_detectron2(tensors).config)
    assert config.box_head is not None
    config = replace(
        config,
        input=replace(config.input, train_min_sizes=(128,)),
        rpn=replace(
            config.rpn,
            samples=ANCHORS,
            pre_nms_train=config.rpn.pre_nms_test,
            post_nms_train=config.rpn.post_nms_test,
        ),
        box_head=replace(config.box_head, samples=ROIS),
    )
    model = from_detectron2(tensors, config=config).double().train()
    model.rpn.sampler = fixed_sampler
    assert model.roi_heads is not None
    model.roi_heads.sampler = fixed_sampler
    return model


def objects(seed: int, count: int) -> dict[str, np.ndarray]:
    """Ellipses: boxes [M, 4], classes [M], masks [M, H, W]."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(2, 60, (count, 2))
    boxes = np.concatenate((corner, corner + rng.integers(20, 64, (count, 2))), axis=1).astype(np.float64)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    masks = np.stack(
        [
            ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 <= 0.25
            for x1, y1, x2, y2 in boxes
        ]
    )
    return {"boxes": boxes, "classes": rng.integers(0, 5, count), "masks": masks}


@pytest.mark.parametrize("kind", ["FPN", "C4", "DC5"])
def test_losses_of_a_batch(kind: str) -> None:
    """Each loss of the RPN is divided by the budget of the batch, those of the heads by all of its RoIs."""
    state = random_state(KINDS[kind])
    image, scene = blocky_image(*SIZE), objects(0, 4)
    settings = settings_of(KINDS[kind])
    expected = losses(state, image, **scene, settings=settings, anchors_sampled=ANCHORS, rois_sampled=ROIS)
    target = {
        "boxes": torch.from_numpy(scene["boxes"]),
        "labels": torch.from_numpy(scene["classes"]) + 1,
        "masks": torch.from_numpy(scene["masks"]),
    }
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)
    model = training_model(state)
    for copies in (1, 2):
        found = model([pixels] * copies, [target] * copies)
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            tolerance = (
                1e-6 if name == "loss_mask" else 1e-9
            )  # the masks' targets are float32, and their loss with them
            assert value.item() == pytest.approx(expected[name], rel=tolerance), (name, copies)


def test_an_image_without_objects() -> None:
    """Nothing is divided by zero, and the budget stays."""
    model = training_model(random_state(KINDS["FPN"]))
    pixels = torch.from_numpy(blocky_image(*SIZE).copy()).permute(2, 0, 1)
    nothing = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, *SIZE, dtype=torch.bool),
    }
    found = model([pixels], [nothing])
    assert isinstance(found, dict)
    assert found["loss_rpn_box_reg"].item() == found["loss_box_reg"].item() == found["loss_mask"].item() == 0
    assert 0 < found["loss_objectness"].item() < 10
    sum(found.values()).backward()  # type: ignore[union-attr]
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[1] + name.split(".")[2] for name in frozen} == {"stemconv1", "stages0"}
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
