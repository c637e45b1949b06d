"""Runs that end before their last step: by Ctrl-C, SIGTERM, a broken image, or because nothing gets better."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fastmrcnn import load_model
from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.errors import UserError
from fastmrcnn.evaluation import EvaluationResult
from fastmrcnn.evaluation.result import METRICS
from fastmrcnn.models import MaskRCNN
from fastmrcnn.training import TrainConfig, train, validation
from tests.training.runs import CLASSES, assert_same_run, assert_same_tensors, interrupt_at_step

MakeConfig = Callable[..., TrainConfig]


def test_ctrl_c_leaves_a_checkpoint_of_the_finished_step(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(steps=10)
    handler = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    interrupt_at_step(2, config)
    folder = config.output / "checkpoints" / "step-00000002"  # type: ignore[operator]
    assert sorted(path.name for path in folder.iterdir()) == [
        "optimizer.safetensors",
        "state.json",
        "weights.safetensors",
    ]
    assert load_model(folder / "weights.safetensors").config.class_names == CLASSES
    printed = capsys.readouterr()
    assert f"fastmrcnn train --resume {config.output}" in printed.out + printed.err
    assert signal.getsignal(signal.SIGINT) is handler


def test_no_number_of_sigterms_cuts_a_step(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = MaskRCNN.losses

    def terminated(self: MaskRCNN, *arguments: Any) -> dict[str, torch.Tensor]:
        for _ in range(3):  # a scheduler tells the group and the process, and asks again
            signal.raise_signal(signal.SIGTERM)
        return losses(self, *arguments)

    monkeypatch.setattr(MaskRCNN, "losses", terminated)
    config = make_config()
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=False)
    assert [path.name for path in (config.output / "checkpoints").iterdir()] == ["step-00000001"]  # type: ignore[operator]


def test_a_signal_cuts_an_evaluation_short_and_it_is_made_up_for(
    make_config: MakeConfig, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(eval_annotations=scenes / "two.json", evaluate_every=2, keep_checkpoints=1)
    whole = train(config, progress=False)
    cut = replace(config, output=tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(validation, "evaluate", lambda *arguments, **options: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(KeyboardInterrupt):
            train(cut, progress=False)
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()] == ["step-00000002"]
    train(cut, resume=True, progress=False)
    assert_same_run(whole.output, tmp_path / "cut")


def test_an_image_that_breaks_meanwhile_costs_no_finished_step(make_config: MakeConfig, tmp_path: Path) -> None:
    annotations = write_dataset(tmp_path / "two", images=2, seed=3, size=(64, 96), classes=CLASSES)
    config = make_config(train_annotations=annotations, train_images=annotations.parent / "images", batch_size=1)
    losses = MaskRCNN.losses

    def broken(self: MaskRCNN, *arguments: Any) -> dict[str, torch.Tensor]:
        for image in (annotations.parent / "images").iterdir():
            image.write_bytes(b"")
        return losses(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskRCNN, "losses", broken)
        with pytest.raises(UserError, match=r"train_00000\d"):
            train(config, progress=False)
    write_dataset(tmp_path / "two", images=2, seed=3, size=(64, 96), classes=CLASSES)
    resumed = train(config, resume=True, progress=False)
    assert [row["step"] for row in resumed.metrics] == [1, 2, 3]


def test_an_evaluation_that_fails_costs_no_finished_step(make_config: MakeConfig, tmp_path: Path) -> None:
    annotations = write_dataset(tmp_path / "val", images=1, seed=3, size=(64, 96), classes=CLASSES)
    [image] = (tmp_path / "val" / "images").iterdir()
    config = make_config(eval_annotations=annotations, eval_images=image.parent, evaluate_every=2)
    content = image.read_bytes()
    image.write_bytes(b"")
    with pytest.raises(UserError, match=f"{image}: expected an image file; the file is empty"):
        train(config, progress=False)
    image.write_bytes(content)
    resumed = train(config, resume=True, progress=False)
    assert [row["step"] for row in resumed.metrics if "loss" in row] == [1, 2, 3]
    assert [row["step"] for row in resumed.metrics if "box_ap" in row] == [2, 3]


AP = dict.fromkeys(METRICS, 0.0)


@pytest.mark.parametrize(("patience", "stopped_at"), [(2, 4), (0, 6)])
def test_a_run_without_better_ap_stops_early(
    make_config: MakeConfig,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    patience: int,
    stopped_at: int,
) -> None:
    measured = [0.1, 0.3, 0.2, 0.3, 0.1, 0.2]
    later = iter(measured)
    monkeypatch.setattr(
        validation, "evaluate", lambda *_, **options: EvaluationResult(AP, AP | {"AP": next(later)}, {}, "")
    )
    config = make_config(
        steps=6, evaluate_every=1, patience=patience, eval_annotations=scenes / "two.json", shown_images=0
    )
    whole = train(config, progress=False)
    assert whole.steps == stopped_at
    said = "stopped early: 2 evaluations brought no better AP than 0.300, of step 2"
    assert (said in capsys.readouterr().out) == (stopped_at < 6)
    assert [path.name for path in (whole.output / "checkpoints").iterdir()] == [f"step-{stopped_at:08d}"]
    # A resumed run finds out by itself how long it has waited.
    later = iter(measured)
    cut = replace(config, output=tmp_path / "cut", keep_checkpoints=1)
    interrupt_at_step(3, cut)
    resumed = train(cut, resume=True, progress=False)
    assert resumed.steps == stopped_at
    assert_same_run(whole.output, tmp_path / "cut")
    assert_same_tensors(tmp_path / "cut" / "best.safetensors", whole.output / "best.safetensors")
    later = iter(measured)
    assert train(cut, resume=True, progress=False).steps == stopped_at  # it stays stopped
