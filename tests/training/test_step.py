"""One optimizer step: parts of a batch, precisions, the average of the weights."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fastmrcnn.data import CocoDataset
from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, presets
from fastmrcnn.training import TrainConfig, train
from fastmrcnn.training.batches import training_loader
from fastmrcnn.training.checkpoint import load_checkpoint, save_checkpoint
from fastmrcnn.training.ema import WeightAverage
from fastmrcnn.training.samplers import image_order
from fastmrcnn.training.state import TrainState
from fastmrcnn.training.step import NotFiniteError, backward, image_seeds, take_step, warn_of_slow_float16

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")


def state_and_parts(config: TrainConfig, scenes: Path, **changes: Any) -> tuple[TrainState, list[Any]]:
    """A random tiny model with ``changes`` of its configuration, and what it sees in the first step."""
    dataset = CocoDataset(scenes / "annotations.json", scenes / "images")
    torch.manual_seed(0)
    model = MaskRCNN(replace(presets.tiny(dataset.class_names, dataset.category_ids), **changes))
    parts = list(
        itertools.islice(
            training_loader(dataset, config, model.config.input, image_order(dataset, config), first_step=0),
            config.accumulate,
        )
    )
    return TrainState.of(model, config, CPU), parts


def test_the_parts_of_a_batch_add_up_to_its_mean_gradient(make_config: MakeConfig, scenes: Path) -> None:
    config = make_config(batch_size=4, accumulate=2, gradient_clip=0.0, warmup_steps=0, weight_decay=0.0)
    state, parts = state_and_parts(config, scenes)
    assert [len(images) for images, _, _ in parts] == [2, 2]
    alone = []
    for number in range(2):
        other = copy.deepcopy(state)
        drawn_by = image_seeds(state, parts[number], number, config)
        losses = backward(other, parts[number], config, share=1.0, seeds=drawn_by)
        alone.append((losses, [p.grad for p in other.model.parameters() if p.requires_grad]))
    row = take_step(state, parts, config, rate=0.1)
    for name in alone[0][0]:
        assert row[name] == pytest.approx(float(alone[0][0][name] + alone[1][0][name]) / 2, rel=1e-6)
    trained = [p for p in state.model.parameters() if p.requires_grad]
    for parameter, first, second in zip(trained, alone[0][1], alone[1][1], strict=True):
        torch.testing.assert_close(parameter.grad, (first + second) / 2, rtol=1e-4, atol=1e-7)
    assert state.step == 1


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.02), ("fp16", 0.005)])
def test_sixteen_bits_follow_float32(make_config: MakeConfig, scenes: Path, precision: str, tolerance: float) -> None:
    rows = []
    for config in (make_config(batch_size=1), make_config(batch_size=1, precision=precision)):
        state, parts = state_and_parts(config, scenes)
        rows.append(take_step(state, parts, config, rate=0.1))
        assert {parameter.dtype for parameter in state.model.parameters()} == {torch.float32}
    wide, narrow = rows
    assert narrow["loss"] == pytest.approx(wide["loss"], rel=tolerance)
    assert narrow["loss"] != wide["loss"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_float16_without_instructions_for_it_is_warned_of(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture, precision: str
) -> None:
    warn_of_slow_float16(make_config(precision=precision), CPU)
    slow = precision == "fp16" and not torch.ops.mkldnn._is_mkldnn_fp16_supported()
    assert [record.message[:14] for record in caplog.records] == ["precision fp16"] * slow


def test_a_checkpoint_holds_the_scale_of_float16(make_config: MakeConfig, scenes: Path, tmp_path: Path) -> None:
    config = make_config(precision="fp16")
    state, _ = state_and_parts(config, scenes)
    state.scaler.load_state_dict(state.scaler.state_dict() | {"scale": 512.0, "_growth_tracker": 7})
    loaded = load_checkpoint(save_checkpoint(tmp_path, state, keep=1), config, CPU)
    assert loaded.scaler.state_dict() == state.scaler.state_dict()
    assert loaded.scaler.get_scale() == 512.0


def test_an_overflow_in_float16_leaves_the_step_out_and_halves_the_scale(make_config: MakeConfig, scenes: Path) -> None:
    config = make_config(precision="fp16", warmup_steps=0, batch_size=1)
    # Most of the time of float16 on a CPU goes into the masks.
    state, parts = state_and_parts(config, scenes, mask_head=None)
    before = copy.deepcopy(state.model.state_dict())
    state.scaler.load_state_dict(state.scaler.state_dict() | {"scale": 2.0**60})
    row = take_step(state, parts, config, rate=0.1)
    assert row["loss"] < 100
    assert not math.isfinite(row["gradient_norm"])
    assert state.scaler.get_scale() == 2.0**59
    parameters = dict(state.model.named_parameters())
    assert all(torch.equal(before[name], value) for name, value in parameters.items())
    state.scaler.load_state_dict(state.scaler.state_dict() | {"scale": 2.0**-20})
    with pytest.raises(UserError, match="precision fp16: the gradient overflows at every scale"):
        take_step(state, parts, config, rate=0.1)


def test_a_loss_that_is_no_number_changes_nothing(make_config: MakeConfig, scenes: Path) -> None:
    config = make_config(ema=0.9)
    state, parts = state_and_parts(config, scenes)
    with torch.no_grad():
        state.model.rpn.head.objectness.bias.fill_(float("nan"))
    before = copy.deepcopy(state.model.state_dict())
    with pytest.raises(NotFiniteError, match="loss=nan") as caught:
        take_step(state, parts, config, rate=0.1)
    assert math.isnan(caught.value.values["loss_objectness"])
    assert state.step == 0
    assert not state.optimizer.state
    for name, value in state.model.named_parameters():
        assert torch.equal(before[name].nan_to_num(7.0), value.nan_to_num(7.0)), name


def test_the_average_is_that_of_its_formula() -> None:
    model = MaskRCNN(presets.tiny(["coin"]))
    average = WeightAverage(model, decay=0.5)
    weight = model.rpn.head.deltas.weight
    expected = weight.detach().double().clone()
    for step in range(1, 12):
        with torch.no_grad():
            weight.normal_()
        average.update(model, step)
        share = min(0.5, (1 + step) / (10 + step))
        expected = share * expected + (1 - share) * weight.detach().double()
    torch.testing.assert_close(average.model.rpn.head.deltas.weight, expected.float())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_the_average_takes_the_statistics_of_norms_as_they_are() -> None:
    config = presets.maskrcnn_resnet18_fpn(["coin"])
    config = replace(config, backbone=replace(config.backbone, norm="bn"))
    model = MaskRCNN(config)
    average = WeightAverage(model, decay=0.9)
    for buffer in model.buffers():
        buffer.add_(1)
    average.update(model, 1)
    assert all(torch.equal(a, b) for a, b in zip(average.model.buffers(), model.buffers(), strict=True))


def test_the_average_is_evaluated_and_kept(make_config: MakeConfig, scenes: Path) -> None:
    config = make_config(ema=0.9, eval_annotations=scenes / "two.json", checkpoint_every=1)
    result = train(config, progress=False)
    folder = sorted((result.output / "checkpoints").iterdir())[-1]
    name = "rpn.head.deltas.weight"
    average, weights = load_file(folder / "average.safetensors"), load_file(folder / "weights.safetensors")
    assert not torch.equal(average[name], weights[name])
    for kept in ("last.safetensors", "best.safetensors"):
        assert torch.equal(load_file(result.output / kept)[name], average[name])
