"""Losses of a data set, measured with its average precision."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from fastmrcnn import load_model
from fastmrcnn.data import CocoDataset
from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.errors import UserError
from fastmrcnn.evaluation import EvaluationResult, evaluate
from fastmrcnn.models import MaskRCNN

NAMES = {"loss", "loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    return load_model("tiny")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_dataset(folder, images=5, seed=3, size=(96, 128))
    return folder


def data(scenes: Path, *names: str) -> CocoDataset:
    return CocoDataset(scenes / "annotations.json", scenes / "images", class_names=names or None)


def test_average_precision_is_the_same_to_the_bit(model: MaskRCNN, scenes: Path) -> None:
    generator = torch.get_rng_state()
    plain, with_losses = (evaluate(model, data(scenes), batch_size=2, loss_seed=seed) for seed in (None, 0))
    assert plain.losses == {}
    assert with_losses.losses.keys() == NAMES
    assert with_losses.losses["loss"] == pytest.approx(sum(with_losses.losses.values()) / 2)
    assert all(math.isfinite(value) for value in with_losses.losses.values())
    assert repr((plain.box, plain.mask, plain.per_class, plain.table)) == repr(
        (with_losses.box, with_losses.mask, with_losses.per_class, with_losses.table)
    )
    assert torch.equal(torch.get_rng_state(), generator)
    assert not model.training


def test_classes_are_found_by_name_in_any_order(model: MaskRCNN, scenes: Path) -> None:
    names = data(scenes).class_names
    assert names == model.config.class_names
    results = [evaluate(model, data(scenes, *order), loss_seed=0).losses for order in (names, names[::-1])]
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    # It is not the order of the labels alone that would do: trained weights know the classes apart.
    swapped = data(scenes)
    swapped.class_names = names[::-1]
    assert _classifier(evaluate(model, swapped, loss_seed=0)) > 2 * results[0]["loss_classifier"]


def _classifier(result: EvaluationResult) -> float:
    return result.losses["loss_classifier"]


def test_another_seed_draws_other_anchors(model: MaskRCNN, scenes: Path) -> None:
    first, again, other = (evaluate(model, data(scenes), loss_seed=seed).losses for seed in (0, 0, 1))
    assert first == again
    assert other["loss_objectness"] != pytest.approx(first["loss_objectness"], rel=1e-3)


def test_refusals(model: MaskRCNN, scenes: Path, tmp_path: Path) -> None:
    class Blind:
        def predict(self, images: list[torch.Tensor], *, batch_size: int) -> list[object]:
            return []

    with pytest.raises(TypeError, match="evaluate: losses are those of a MaskRCNN; got Blind"):
        evaluate(Blind(), data(scenes), loss_seed=0)  # type: ignore[arg-type]
    other = tmp_path / "other"
    other.mkdir()
    text = (scenes / "annotations.json").read_text().replace('"ball"', '"moon"')
    (other / "annotations.json").write_text(text)
    unknown = CocoDataset(other / "annotations.json", scenes / "images")
    with pytest.raises(UserError, match=r"annotations\.json: expected classes that the model knows .*; got moon"):
        evaluate(model, unknown, loss_seed=0)
