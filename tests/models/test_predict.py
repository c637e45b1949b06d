"""predict(): whatever the user calls an image, in whatever mode the model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastmrcnn.errors import UserError
from fastmrcnn.structures import Detections
from tests.models.small import images_of, small_model

TWENTY = {"score_threshold": 0.0, "detections": 20, "hidden": 16}  # detections whatever the scores


@pytest.fixture
def pixels() -> np.ndarray:
    return (images_of((48, 64))[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def test_all_forms_of_one_image_give_the_same(pixels: np.ndarray, tmp_path: Path) -> None:
    model = small_model(box_head=TWENTY)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = model.predict(pixels)
    assert len(expected) == 20
    forms: list[Any] = [path, str(path), Image.fromarray(pixels), tensor, tensor.float() / 255]
    for form in forms:
        found = model.predict(form)
        torch.testing.assert_close(found.boxes, expected.boxes)
        assert found.source is form
    for many in (forms, iter(forms), tuple(forms)):
        assert [len(found) for found in model.predict(many, batch_size=2)] == [20] * len(forms)
    assert len(model.predict(np.stack([pixels, pixels]))) == 2
    assert len(model.predict(torch.stack([tensor, tensor, tensor]))) == 3
    assert model.predict([]) == []


def test_the_threshold_drops_detections(pixels: np.ndarray) -> None:
    model = small_model(box_head=TWENTY)
    everything = model.predict(pixels)
    threshold = float(everything.scores[10])
    assert len(model.predict(pixels, score_threshold=threshold)) == int((everything.scores >= threshold).sum())


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_what_is_found_may_be_written_over_and_differentiated(pixels: np.ndarray, threshold: float | None) -> None:
    found = small_model().predict(pixels, score_threshold=threshold)
    assert found.mask_probs is not None
    weight = torch.ones(4, requires_grad=True)
    (found.boxes * weight).sum().backward()  # keeps the boxes
    for tensor in (found.boxes, found.scores, found.labels, found.mask_probs):
        tensor.zero_()


def test_the_modes_of_all_modules_are_restored(pixels: np.ndarray) -> None:
    model = small_model().train()
    model.backbone.stem.eval()  # a user's choice, for example to freeze its statistics
    before = [module.training for module in model.modules()]
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    model.predict(pixels)
    assert [module.training for module in model.modules()] == before
    assert all(torch.equal(value, statistics[name]) for name, value in model.state_dict().items())
    with pytest.raises(UserError):
        model.predict("missing.png")
    assert [module.training for module in model.modules()] == before


def test_the_detections_know_their_classes(pixels: np.ndarray) -> None:
    found = small_model(box_head=TWENTY).predict(pixels)
    assert isinstance(found, Detections)
    assert found.class_names == ("disc", "box")
    assert found.category_ids == (7, 3)
    assert set(found.names) <= {"disc", "box"}
    assert found.image_size == (48, 64)
    assert found.masks.shape == (20, 48, 64)


def test_wrong_arguments(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="predict: batch_size must be at least 1; got 0"):
        small_model().predict(pixels, batch_size=0)
    with pytest.raises(ValueError, match=r"predict: score_threshold must lie in 0\.\.1; got 50"):
        small_model().predict(pixels, score_threshold=50)
    with pytest.raises(UserError, match=r"image: expected a path, a Pillow image, .*; got NoneType"):
        small_model().predict(None)  # type: ignore[call-overload]
    with pytest.raises(UserError, match=r"missing\.png: expected an image file; there is no such file"):
        small_model().predict(["missing.png"])
