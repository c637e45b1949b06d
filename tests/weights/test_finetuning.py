"""Starting from weights for other classes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from fastmrcnn.weights import load_model_for_finetuning, save_model
from fastmrcnn.weights.load import CLASS_DEPENDENT
from tests.models.small import small_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(small_model(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_only_the_outputs_of_new_classes_are_new(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fastmrcnn"):
        model = load_model_for_finetuning(saved, ["box", "star", "ring"], [5, 6, 9])
    assert "class outputs kept for box" in caplog.text
    assert model.config.class_names == ("box", "star", "ring")
    assert model.config.category_ids == (5, 6, 9)
    old, new = small_model().state_dict(), model.state_dict()
    for name, value in new.items():
        if not name.startswith(CLASS_DEPENDENT):
            assert torch.equal(value, old[name]), name
    # disc, box were classes 1, 2; box is class 1 now.
    for name, outputs in (("box_head.classifier", 1), ("box_head.deltas", 4), ("mask_head.logits", 1)):
        for kind in ("weight", "bias"):
            before = old[f"roi_heads.{name}.{kind}"].unflatten(0, (3, outputs))
            after = new[f"roi_heads.{name}.{kind}"].unflatten(0, (4, outputs))
            assert torch.equal(after[0], before[0])
            assert torch.equal(after[1], before[2])
            if kind == "weight":
                assert not torch.equal(after[2], before[1])
                assert 0 < after[2:].abs().max() < 0.1


def test_the_same_classes_keep_everything(saved: Path) -> None:
    model = load_model_for_finetuning(saved, ["disc", "box"])
    old = small_model().state_dict()
    assert all(torch.equal(value, old[name]) for name, value in model.state_dict().items())
    assert model.config.category_ids == (1, 2)
