"""A model with a keypoint head trains on a COCO file that has keypoints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.models import KeypointHeadConfig, MaskRCNN, PoolerConfig, tiny
from fastmrcnn.training import TrainConfig, train
from fastmrcnn.weights import save_model

HEAD = KeypointHeadConfig(("left_end", "right_end"), PoolerConfig(7), channels=8, convolutions=2)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A random model of boxes and keypoints for classes that the data do not have."""
    torch.manual_seed(0)
    config = dataclasses.replace(tiny(["a", "b", "c"]), mask_head=None, keypoint_head=HEAD)
    save_model(MaskRCNN(config), tmp_path / "keypoints.safetensors")
    return tmp_path / "keypoints.safetensors"


def test_a_run(make_config: Callable[..., TrainConfig], scenes: Path, weights: Path, tmp_path: Path) -> None:
    document = json.loads((scenes / "annotations.json").read_text())
    for category in document["categories"]:
        category["keypoints"] = ["right_end", "left_end"]
    for item in document["annotations"]:
        x, y, width, height = item["bbox"]
        item["keypoints"] = [x + width - 1, y + height / 2, 2, x, y + height / 2, 2]
    annotations = tmp_path / "annotations.json"
    annotations.write_text(json.dumps(document))
    config = make_config(weights=weights, train_annotations=annotations, eval_annotations=annotations, steps=2)
    result = train(config, progress=False)
    assert result.evaluation is not None
    assert result.model.config.keypoint_head == HEAD
    losses = [row["loss_keypoint"] for row in result.metrics if "loss_keypoint" in row]
    assert losses
    assert all(0 < loss < 10 for loss in losses)


def test_data_without_keypoints_are_refused(make_config: Callable[..., TrainConfig], weights: Path) -> None:
    with pytest.raises(UserError, match="expected a category that lists 'keypoints'; got ball, star"):
        train(make_config(weights=weights), progress=False)
