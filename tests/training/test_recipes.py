"""Published schedules, and the architectures that a run can name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastmrcnn.cli.arguments import parse
from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, presets
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.architectures import ARCHITECTURES, architecture
from fastmrcnn.training.recipes import RECIPES, TRAIN2017, recipe_options
from fastmrcnn.training.schedule import learning_rate
from fastmrcnn.weights.backbones import BACKBONES

DATA = ["--train-annotations", "a.json"]

# Of the sources that RECIPES names: steps on train2017, where the rate is divided by ten, images a step, rate, decay.
PUBLISHED = {
    "coco-1x": (90_000, [60_000, 80_000], 16, 0.02, 1e-4),
    "coco-3x": (270_000, [210_000, 250_000], 16, 0.02, 1e-4),
    "coco-lsj-100ep": (184_375, [163_889, 177_546], 64, 0.1, 4e-5),
    "coco-lsj-400ep": (-(-400 * TRAIN2017 // 64), [650_579, 709_723], 64, 0.1, 4e-5),  # 400, 352 and 384 epochs
}


def config_of(name: str, **changes: object) -> TrainConfig:
    return TrainConfig(train_annotations=Path("a.json"), **(recipe_options(name) | changes))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_published_figures(name: str) -> None:
    steps, milestones, batch_size, rate, decay = PUBLISHED[name]
    config = config_of(name)
    assert config.total_steps(TRAIN2017) == steps
    assert (config.batch_size, config.learning_rate, config.weight_decay) == (batch_size, rate, decay)
    before_and_after = [step for milestone in milestones for step in (milestone - 1, milestone)]
    expected = [rate, 0.1 * rate, 0.1 * rate, 0.01 * rate]
    assert [learning_rate(step, steps, config) for step in before_and_after] == pytest.approx(expected)
    assert learning_rate(config.warmup_steps, steps, config) == rate
    assert learning_rate(config.warmup_steps // 2, steps, config) == pytest.approx(rate / 2, rel=0.01)
    assert config.model in ARCHITECTURES
    assert config.backbone is None or config.backbone in BACKBONES


def test_the_rate_goes_with_the_batch() -> None:
    half = recipe_options("coco-1x", batch_size=8)
    assert (half["learning_rate"], half["warmup_steps"], half["batch_size"]) == (0.01, 2000, 8)
    config = TrainConfig(train_annotations=Path("a.json"), **half)
    assert config.total_steps(TRAIN2017) == 180_000


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            [],
            {
                "batch_size": 16,
                "learning_rate": 0.02,
                "model": "detectron2/mask_rcnn_R_50_FPN",
                "aspect_grouping": True,
            },
        ),
        (["--batch-size", "4"], {"batch_size": 4, "learning_rate": 0.005, "warmup_steps": 4000}),
        (["--batch-size=4", "--learning-rate", "0.5"], {"batch_size": 4, "learning_rate": 0.5}),
        (["--model", "resnet50_fpn"], {"model": "resnet50_fpn", "backbone": None, "min_size": 800}),
        (["--weights", "tiny"], {"model": None, "weights": "tiny"}),
        (["--min-size", "600"], {"min_size": 600, "max_size": 1333, "train_min_sizes": ()}),
        (["--min-size", "600", "--train-min-sizes", "500", "600"], {"min_size": 600, "train_min_sizes": (500, 600)}),
        (["--epochs", "3", "--no-aspect-grouping"], {"epochs": 3.0, "aspect_grouping": False}),
    ],
)
def test_what_is_typed_wins_over_a_recipe(words: list[str], expected: dict[str, object]) -> None:
    command = parse(["train", "--recipe", "coco-1x", *DATA, *words])
    assert {name: getattr(command, name) for name in expected} == expected


def test_a_file_wins_over_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"batch_size": 8, "min_size": 600}')
    command = parse(["train", *DATA, "--recipe=coco-3x", "--config", str(tmp_path / "own.json")])
    assert (command.batch_size, command.min_size, command.learning_rate) == (8, 600, 0.01)  # type: ignore[union-attr]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe must be one of coco-1x, coco-3x, .*; got '2x'"):
        parse(["train", *DATA, "--recipe", "2x"])
    with pytest.raises(UserError, match="batch_size must be at least 1; got 0"):
        parse(["train", *DATA, "--recipe", "coco-1x", "--batch-size", "0"])
    (tmp_path / "config.json").write_text('{"train_annotations": "a.json"}')
    with pytest.raises(UserError, match=r"recipe cannot be given when a run is resumed"):
        parse(["train", "--resume", str(tmp_path), "--recipe", "coco-1x"])


def test_an_unknown_architecture_is_answered_with_all_names() -> None:
    with pytest.raises(UserError) as caught:
        TrainConfig(train_annotations=Path("a.json"), model="resnet50")
    message = str(caught.value)
    assert message.startswith("model must be one of tiny, resnet18_fpn, ")
    assert "detectron2/mask_rcnn_X_101_32x8d_FPN" in message
    assert message.endswith("got 'resnet50'; did you mean 'resnet50_c4'?")


def test_every_preset_has_a_name_and_every_name_builds_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_", "zeros_", "ones_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)  # of parameters without memory
    assert {preset for preset, _ in ARCHITECTURES.values()} == set(presets.__all__)
    with torch.device("meta"):
        sizes = {name: _parameters(name) for name in ARCHITECTURES}
    # in millions, of the publishers' own counts and of the paper's backbones
    assert sizes["tiny"] < 3.9e6
    assert sizes["resnet50_fpn"] == pytest.approx(44.4e6, rel=0.02)
    assert sizes["torchvision/maskrcnn_resnet50_fpn_v2"] == pytest.approx(46.4e6, rel=0.02)
    assert sizes["resnet152_fpn"] - sizes["resnet101_fpn"] == pytest.approx(15.6e6, rel=0.02)
    assert sizes["resnext101_32x8d_fpn"] - sizes["resnet101_fpn"] == pytest.approx(44.2e6, rel=0.02)


def _parameters(name: str) -> int:
    config = architecture(name, ["cat", "dog"], [17, 18])
    assert config.class_names == ("cat", "dog")
    assert config.category_ids == (17, 18)
    return sum(parameter.numel() for parameter in MaskRCNN(config).parameters())


def test_the_network_of_the_jittered_baselines_has_its_parts() -> None:
    config = architecture("detectron2/mask_rcnn_R_50_FPN_LSJ", ["cat"])
    assert config.backbone.frozen_stages == 0
    assert config.rpn.convolutions == 2
    assert config.box_head is not None
    assert config.mask_head is not None
    assert (config.box_head.convolutions, config.box_head.fully_connected) == (4, 1)
    norms = {config.backbone.norm, config.fpn.norm, config.box_head.norm, config.mask_head.norm}
    assert norms == {"bn"}
