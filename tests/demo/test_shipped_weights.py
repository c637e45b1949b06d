"""The weights that ship: small, trained on what the configuration beside them says, and as good as promised."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from fastmrcnn.data import CocoDataset
from fastmrcnn.data.scenes import CLASS_NAMES, write_dataset
from fastmrcnn.demo.photograph import segment_photograph
from fastmrcnn.evaluation import evaluate
from fastmrcnn.files import read_json
from fastmrcnn.training import TrainConfig
from fastmrcnn.weights import load_model

ASSETS = resources.files("fastmrcnn") / "assets"
HELD_OUT = {"images": 120, "seed": 3, "split": "test"}  # no scene of the training or the validation set


def test_they_are_small_and_know_their_classes() -> None:
    assert (Path(str(ASSETS)) / "tiny.safetensors").stat().st_size <= 8_000_000
    assert load_model("tiny").config.class_names == CLASS_NAMES


def test_the_configuration_beside_them_is_one_that_train_reads() -> None:
    config = TrainConfig.from_dict(read_json(Path(str(ASSETS)) / "tiny.json"))
    assert config.model == "tiny"


def test_the_coins_of_the_photograph_are_found() -> None:
    photograph = segment_photograph(load_model("tiny"))
    assert photograph.coins == 24
    assert photograph.coins_found >= 20
    assert photograph.coins_false <= 2


@pytest.mark.slow
def test_average_precision_on_held_out_scenes(tmp_path: Path) -> None:
    annotations = write_dataset(tmp_path, **HELD_OUT)  # type: ignore[arg-type]
    result = evaluate(load_model("tiny"), CocoDataset(annotations, tmp_path / "images"))
    print(f"box AP {result.box_ap:.3f}, mask AP {result.mask_ap:.3f}, mask AP50 {result.mask_ap50:.3f}")
    assert result.mask_ap >= 0.60
    assert result.mask_ap50 >= 0.85
