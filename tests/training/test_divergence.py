"""A step whose loss is no number: what it leaves behind."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fastmrcnn.data import CocoDataset
from fastmrcnn.errors import UserError
from fastmrcnn.training import TrainConfig, divergence, train
from fastmrcnn.training.batches import training_loader
from fastmrcnn.training.samplers import image_order
from fastmrcnn.training.start import open_datasets, starting_model

MakeConfig = Callable[..., TrainConfig]


def test_divergence_names_step_and_images_and_keeps_the_last_checkpoint(make_config: MakeConfig) -> None:
    config = make_config(
        steps=20, learning_rate=1e18, warmup_steps=0, gradient_clip=0.0, checkpoint_every=1, accumulate=2
    )
    with pytest.raises(UserError) as caught:
        train(config, progress=False)
    message = str(caught.value)
    assert "training diverged: " in message
    assert "train_00000" in message
    assert message.startswith("step ")
    assert "\n" not in message
    assert config.output is not None
    last = sorted((config.output / "checkpoints").iterdir())[-1]
    assert f"the last good checkpoint is {last}" in message
    assert all(torch.isfinite(tensor).all() for tensor in load_file(last / "weights.safetensors").values())
    [folder] = (config.output / "diverged").iterdir()
    assert f"its images, targets and losses are in {folder}" in message
    step = json.loads((folder / "step.json").read_text())
    assert folder.name == f"step-{step['step']:08d}"
    assert step["values"]["loss"] in ("nan", "inf")
    assert step["seed"] == config.seed
    assert TrainConfig.from_dict(json.loads((folder / "config.json").read_text())) == config
    assert len(list((folder / "pictures").iterdir())) == len(step["images"]) == 2
    # The very samples of the step, mirrored or not, as a data set that anything can open.
    written = CocoDataset(folder / "annotations.json", folder / "images")
    data, _ = open_datasets(config)
    order, size = image_order(data, config), starting_model(config, data, torch.device("cpu")).config.input
    for number, (_, _, samples) in enumerate(islice(training_loader(data, config, size, order, step["step"] - 1), 2)):
        assert torch.equal(written[number].image, samples[0].image)
        torch.testing.assert_close(written[number].boxes, samples[0].boxes)
        assert torch.equal(written[number].labels, samples[0].labels)
        assert torch.equal(written[number].masks.to_bitmaps(), samples[0].masks.to_bitmaps())


def test_divergence_on_a_full_disk_still_says_what_happened(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(divergence, "write_diverged_step", full)
    config = make_config(steps=20, learning_rate=1e18, warmup_steps=0, gradient_clip=0.0)
    with pytest.raises(UserError, match=r"training diverged: .*; its images cannot be written: .*No space left"):
        train(config, progress=False)
