"""TrainConfig: JSON round trip, refusals in words, and the options of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastmrcnn.cli.arguments import parse
from fastmrcnn.errors import UserError
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.config import read_config_fields


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(Path("a.json"), Path("images"), **changes)


def test_json_round_trip() -> None:
    original = config(steps=7, lr_milestones=(0.5,), output=Path("runs/x"), model="tiny", train_min_sizes=(200, 240))
    assert TrainConfig.from_dict(json.loads(json.dumps(original.to_dict()))) == original


@pytest.mark.parametrize(
    ("words", "other", "total_steps"),
    [
        (["--epochs", "2"], {}, 20),
        (["--epochs=2", "--steps", "5"], {}, 5),
        ([], {"epochs": 3.0}, 30),
        ([], {"epochs": 3.0, "steps": 4}, 4),
        ([], {"batch_size": 2}, 7),
    ],
)
def test_epochs_win_over_the_steps_of_weaker_options(
    words: list[str], other: dict[str, Any], total_steps: int, tmp_path: Path
) -> None:
    own = {"train_annotations": "a.json", "epochs": 1.0, "steps": 7, "batch_size": 4}
    (tmp_path / "config.json").write_text(json.dumps(own))
    (tmp_path / "other.json").write_text(json.dumps(other))
    command = parse(["train", "--resume", str(tmp_path), "--config", str(tmp_path / "other.json"), *words])
    assert command.total_steps(images=40) == total_steps  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("asked", "total_steps", "expected"),
    [(None, 300, 30), (None, 5, 1), (None, 90_000, 500), (0, 300, 0), (250, 300, 250)],
)
def test_little_is_lost_of_short_and_of_long_runs(asked: int | None, total_steps: int, expected: int) -> None:
    assert config(checkpoint_every=asked).steps_between_checkpoints(total_steps) == expected


def test_paths_may_be_strings() -> None:
    assert TrainConfig("a.json", "images") == config()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0; got nan"),
        ({"epochs": 0.0}, "epochs must be above 0; got 0.0"),
        ({"anchor_scale": 0.0}, "anchor_scale must be above 0; got 0.0"),
        ({"anchor_ratios": (1.0, -1.0)}, "anchor_ratios must be above 0; got (1.0, -1.0)"),
        ({"horizontal_flip": 1.5}, "horizontal_flip must be in 0..1; got 1.5"),
        ({"hue_jitter": 0.6}, "hue_jitter must be in 0..0.5; got 0.6"),
        ({"copy_paste": -0.1}, "copy_paste must be in 0..1; got -0.1"),
        ({"crop_sides": (0.9, 0.5)}, "crop_sides must be two shares in 0..1, the smaller one first; got (0.9, 0.5)"),
        (
            {"large_scale_jitter": (0.1,)},
            "large_scale_jitter must be two scales above 0, the smaller one first; got (0.1,)",
        ),
        (
            {"large_scale_jitter": (0.1, 2.0), "train_min_sizes": (640, 800)},
            "large_scale_jitter and train_min_sizes exclude each other: both draw the size of an image; got (0.1, 2.0)",
        ),
        ({"lr_milestones": (0.5, 1.0)}, "lr_milestones must be fractions of the run in 0..1; got (0.5, 1.0)"),
        ({"min_size": 4}, "min_size must be at least 16; got 4"),
        ({"batch_size": 4, "accumulate": 3}, "accumulate must divide batch_size 4; got 3"),
        ({"ema": 1.5}, "ema must be in 0..1; got 1.5"),
        ({"schedule": "constant"}, "schedule must be one of steps, cosine, onecycle; got 'constant'"),
        ({"model": "tiny", "norm": "ln"}, "norm must be one of bn, sync_bn, gn, frozen_bn; got 'ln'"),
        ({"train_min_sizes": (640, 1)}, "train_min_sizes must be at least 16 each; got (640, 1)"),
        (
            {"optimizer": "adamw", "momentum": 1.0},
            "momentum must be below 1 with optimizer adamw, whose beta1 it is; got 1.0",
        ),
        ({"frozen_stages": 6}, "frozen_stages must be in 0..5; got 6"),
        ({"norm": "gn"}, "norm needs a model to build: weights have their own; got norm='gn' and no model"),
        (
            {"patience": 3, "eval_annotations": "b.json"},
            "patience needs evaluations on the way: expected eval_annotations and evaluate_every; got b.json and 0",
        ),
        ({"weights": "a.safetensors", "model": "tiny"}, "weights and model exclude each other"),
        (
            {"backbone": "resnet18.pth"},
            "backbone needs a model to put it into; got backbone='resnet18.pth'",
        ),
    ],
)
def test_values_that_cannot_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        config(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batchsize": 2}, "unknown option 'batchsize'; did you mean 'batch_size'?"),
        ({"batch_size": "2"}, "batch_size must be a whole number; got '2'"),
        ({"batch_size": True}, "batch_size must be a whole number; got True"),
        ({"learning_rate": "fast"}, "learning_rate must be a number; got 'fast'"),
        ({"precision": "fp8"}, "precision must be one of 'fp32', 'bf16', 'fp16'; got 'fp8'"),
        ({"model": 18}, "model must be a string; got 18"),
        ({"lr_milestones": 0.5}, "lr_milestones must be a list; got 0.5"),
        ({"output": 3}, "output must be a path; got 3"),
        ([1], "expected a JSON object of options; got list"),
    ],
)
def test_wrong_options_in_a_file(tmp_path: Path, values: Any, message: str) -> None:
    path = tmp_path / "options.json"
    path.write_text(json.dumps(values))
    with pytest.raises(UserError) as caught:
        read_config_fields(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_from_dict_names_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"run\.json: train_annotations is missing"):
        TrainConfig.from_dict({"train_images": "images"}, source="run.json")


def test_steps_of_a_run() -> None:
    assert config(steps=5).total_steps(1000) == 5
    assert config(epochs=1.5, batch_size=4).total_steps(10) == 4
    assert config(epochs=0.001).total_steps(1) == 1
