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


def write_keypoints(scenes: Path, folder: Path, names: list[str]) -> Path:
    """The scenes with two keypoints an object: the middles of the right and of the left side of its box."""
    document = json.loads((scenes / "annotations.json").read_text())
    for category in document["categories"]:
        category["keypoints"] = names
    for item in document["annotations"]:
        x, y, width, height = item["bbox"]
        item["keypoints"] = [x + width - 1, y + height / 2, 2, x, y + height / 2, 2]
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder / "annotations.json"


def test_a_run(make_config: Callable[..., TrainConfig], scenes: Path, weights: Path, tmp_path: Path) -> None:
    annotations = write_keypoints(scenes, tmp_path, ["right_end", "left_end"])
    data = {"train_annotations": annotations, "eval_annotations": annotations}
    config = make_config(weights=weights, **data, steps=2, shown_images=1)
    result = train(config, progress=False)
    assert result.evaluation is not None
    assert result.model.config.keypoint_head == HEAD
    losses = [row["loss_keypoint"] for row in result.metrics if "loss_keypoint" in row]
    assert losses
    assert all(0 < loss < 10 for loss in losses)
    [evaluated] = [row for row in result.metrics if "box_ap" in row]
    assert 0 <= evaluated["keypoint_ap"] == result.evaluation.keypoint_ap <= 1
    assert result.evaluation.table.count("Average Precision") == 6 + 5  # boxes and keypoints; there are no masks
    assert (result.output / "best.safetensors").exists()


def test_other_keypoints_are_learned_from_the_data(
    make_config: Callable[..., TrainConfig],
    scenes: Path,
    weights: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    annotations = write_keypoints(scenes, tmp_path, ["right_end", "tip"])
    with caplog.at_level("INFO", logger="fastmrcnn"):
        result = train(make_config(weights=weights, train_annotations=annotations, steps=1), progress=False)
    assert result.model.config.keypoint_head == dataclasses.replace(HEAD, keypoint_names=("right_end", "tip"))
    assert "the outputs of tip in roi_heads.keypoint_head.upsample (those of right_end are kept)" in caplog.text


def test_data_without_keypoints_are_refused(make_config: Callable[..., TrainConfig], weights: Path) -> None:
    with pytest.raises(UserError, match="expected a category that lists 'keypoints'; got ball, star"):
        train(make_config(weights=weights), progress=False)


def test_sigmas_of_a_model_without_keypoints_are_refused(make_config: Callable[..., TrainConfig]) -> None:
    with pytest.raises(UserError, match=r"keypoint_sigmas: expected a model that finds keypoints; got \[0.1\]"):
        train(make_config(keypoint_sigmas=(0.1,)), progress=False)


def test_sigmas_of_other_keypoints_are_refused_before_the_first_step(
    make_config: Callable[..., TrainConfig], scenes: Path, weights: Path, tmp_path: Path
) -> None:
    annotations = write_keypoints(scenes, tmp_path, ["right_end", "left_end"])
    config = make_config(weights=weights, train_annotations=annotations, keypoint_sigmas=(0.1,))
    with pytest.raises(UserError, match="keypoint_sigmas must be 2 numbers above 0, for left_end, right_end; got"):
        train(config, progress=False)
    assert not config.output.exists()  # type: ignore[union-attr]
