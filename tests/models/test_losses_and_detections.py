"""Losses beside detections, from one forward pass."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.sampling import Sample
from fastmrcnn.structures import Detections
from tests.models.small import images_of, small_model, target_of


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = images_of((64, 96), (50, 64))
    return images, [
        target_of(images[0], [[10, 10, 50, 40], [30, 20, 90, 60]], [1, 2]),
        target_of(images[1], [[5, 8, 30, 44]], [2]),
    ]


def measure(model: MaskRCNN, seeds: list[int] | None = None) -> tuple[dict[str, Tensor], list[Detections]]:
    with torch.inference_mode():
        return model.losses_and_detections(*batch(), seeds or [3, 4])


def first_ones(labels: Tensor, count: int, positive_fraction: float, *_: Any) -> Sample:
    """A sampler that draws nothing at random."""
    positive = torch.where(labels >= 1)[0][: int(count * positive_fraction)]
    return Sample.of(positive, torch.where(labels == 0)[0][: count - len(positive)])


PARTS: dict[str, dict[str, Any]] = {
    "mask": {},
    "box": {"mask_head": None},
    "proposals": {"mask_head": None, "box_head": None},
}


@pytest.mark.parametrize("parts", PARTS)
def test_detections_are_those_of_detect_to_the_bit(parts: str) -> None:
    model = small_model(**PARTS[parts]).eval()
    images, _ = batch()
    with torch.inference_mode():
        expected = model(images)
    _, found = measure(model)
    assert sum(len(one) for one in found) > 5
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)
        assert one.mask_probs is other.mask_probs is None or torch.equal(one.mask_probs, other.mask_probs)
        assert one.image_size == other.image_size


@pytest.mark.parametrize("parts", PARTS)
def test_losses_are_those_of_training_where_the_modes_do_not_differ(parts: str) -> None:
    model = small_model(backbone={"norm": "frozen_bn"}, rpn={"post_nms_train": 90, "post_nms_test": 20}, **PARTS[parts])
    model.rpn.sampler = first_ones
    if model.roi_heads is not None:
        model.roi_heads.sampler = first_ones
    expected = model.train()(*batch())
    losses, _ = measure(model.eval())
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name].detach(), msg=name)


def test_the_trunk_is_computed_once_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model().train()
    model(*batch())  # so that the running statistics are no longer those of the start
    model.eval()
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    calls: list[str] = []
    for name in ("backbone", "fpn"):
        getattr(model, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    model.rpn.head.register_forward_hook(lambda *_: calls.append("rpn"))
    losses, _ = measure(model)
    assert calls == ["backbone", "fpn", *["rpn"] * 5]
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again, _ = measure(model)
    assert all(torch.equal(losses[name], again[name]) for name in losses)
    others, _ = measure(model, seeds=[5, 6])
    assert not torch.equal(losses["loss_objectness"], others["loss_objectness"])


def test_what_is_drawn_for_an_image_does_not_depend_on_its_company() -> None:
    model = small_model().eval()
    images, targets = images_of((64, 96), (64, 96)), [target_of(batch()[0][0], [[10, 10, 50, 40]], [1])] * 2
    with torch.inference_mode():
        together, _ = model.losses_and_detections(images, targets, [3, 4])
        one, _ = model.losses_and_detections(images[:1], targets[:1], [3])
        other, _ = model.losses_and_detections(images[1:], targets[1:], [4])
    for name in ("loss_objectness", "loss_classifier"):  # each image gives as many samples
        torch.testing.assert_close(together[name], (one[name] + other[name]) / 2)


def test_a_crowd_is_no_background() -> None:
    model = small_model().eval()
    images, targets = batch()
    everywhere = [target | {"ignore": torch.tensor([[0.0, 0, 96, 64]])} for target in targets]
    with torch.inference_mode():
        plain, _ = model.losses_and_detections(images, targets, [0, 0])
        ignoring, _ = model.losses_and_detections(images, everywhere, [0, 0])
    assert not torch.equal(plain["loss_objectness"], ignoring["loss_objectness"])


def test_refusals() -> None:
    model = small_model()
    with pytest.raises(ValueError, match=r"losses_and_detections: the model must be in evaluation mode"):
        model.train().losses_and_detections(*batch())
    images, targets = batch()
    with pytest.raises(ValueError, match=r"targets must match the 2 images; got 1"):
        model.eval().losses_and_detections(images, targets[:1])
    with pytest.raises(ValueError, match=r"seeds must be one for each of 2 images; got 1"):
        model.losses_and_detections(images, targets, [3])
    with pytest.raises(ValueError, match=r"seeds must be one for each of 2 images; got 3"):
        model.train()(images, targets, [3, 4, 5])
