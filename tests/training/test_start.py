"""What a run starts from, and which parts of it are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fastmrcnn.models import InputConfig, MaskRCNN, tiny
from fastmrcnn.models.blocks import make_norm
from fastmrcnn.training import TrainConfig, train
from fastmrcnn.training.start import open_datasets, starting_model, with_sizes
from fastmrcnn.weights import save_model
from tests.training.runs import CLASSES

MakeConfig = Callable[..., TrainConfig]


def test_parts_of_the_backbone_stay_as_they_are(make_config: MakeConfig) -> None:
    config = make_config(norm="bn", frozen_stages=2, frozen_statistics=True, steps=2, optimizer="adamw", ema=0.5)
    data, _ = open_datasets(config)
    before = starting_model(config, data, torch.device("cpu")).state_dict()
    after = load_file(train(config, progress=False).output / "last.safetensors")
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    kept = ("backbone.stem.", "backbone.stages.0.")
    assert not {name for name in changed if name.startswith(kept) or "running" in name}
    assert {name.split(".")[2] for name in changed if name.startswith("backbone.")} == {"1", "2", "3"}
    resumed = train(replace(config, steps=3), resume=True, progress=False)
    assert torch.equal(
        resumed.model.state_dict()["backbone.stem.conv1.conv.weight"], before["backbone.stem.conv1.conv.weight"]
    )


@pytest.mark.parametrize("norm", ["gn", "frozen_bn", "sync_bn"])
def test_a_new_model_has_the_normalisation_that_is_asked_for(make_config: MakeConfig, norm: str) -> None:
    result = train(make_config(norm=norm, steps=1), progress=False)
    assert result.model.config.backbone.norm == norm
    assert isinstance(result.model.backbone.stem.conv1.norm, type(make_norm(norm, 32)))  # type: ignore[arg-type]


def test_weights_keep_what_they_freeze_unless_told(make_config: MakeConfig, tmp_path: Path) -> None:
    start = tiny(CLASSES)
    start = replace(start, backbone=replace(start.backbone, frozen_stages=3))
    save_model(MaskRCNN(start), tmp_path / "start.safetensors")
    config = make_config(weights=str(tmp_path / "start.safetensors"))
    data, _ = open_datasets(config)
    for options, expected in (({}, 3), ({"frozen_stages": 0}, 0), ({"frozen_stages": 5}, 5)):
        model = starting_model(replace(config, **options), data, torch.device("cpu"))  # type: ignore[arg-type]
        assert model.config.backbone.frozen_stages == expected
        parts = (model.backbone.stem, *model.backbone.stages)
        trained = [all(parameter.requires_grad for parameter in part.parameters()) for part in parts]
        assert trained == [False] * expected + [True] * (5 - expected)


@pytest.mark.parametrize(
    ("min_size", "max_size", "more", "expected"),
    [
        (None, None, {}, (256, 320, (208, 256, 320))),
        (120, None, {}, (120, 320, ())),  # or training would go on at sizes that nobody asked for
        (800, None, {}, (800, 800, ())),
        (120, None, {"train_min_sizes": (100, 120)}, (120, 320, (100, 120))),
        (None, 240, {}, (240, 240, (208, 240))),
    ],
)
def test_sizes_that_are_asked_for_replace_the_drawn_ones(
    min_size: int | None, max_size: int | None, more: dict[str, object], expected: tuple[object, ...]
) -> None:
    known = InputConfig(min_size=256, max_size=320, train_min_sizes=(208, 256, 320), enlarge=False)
    found = with_sizes(known, min_size, max_size, **more)
    assert (found.min_size, found.max_size, found.train_min_sizes) == expected
    assert found.enlarge == (min_size is not None)  # the smaller images too, or they would not have the size
