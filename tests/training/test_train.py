"""Training end to end on a few small scenes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fastmrcnn import load_model
from fastmrcnn.data import CocoDataset
from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.errors import UserError
from fastmrcnn.evaluation import evaluate
from fastmrcnn.models import MaskRCNN, tiny
from fastmrcnn.training import TrainConfig, read_metrics, train
from fastmrcnn.training.start import next_free_output, open_datasets, starting_model
from fastmrcnn.weights import save_model
from tests.training.runs import CLASSES, assert_same_tensors, interrupt_at_step

LOSSES = {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
MakeConfig = Callable[..., TrainConfig]


def test_a_run_leaves_everything_behind(make_config: MakeConfig, scenes: Path) -> None:
    config = make_config(
        eval_annotations=scenes / "annotations.json", evaluate_every=2, checkpoint_every=1, keep_checkpoints=2
    )
    result = train(config, progress=False)
    assert result.steps == 3
    assert result.evaluation is not None
    assert not result.model.training
    assert sorted(path.name for path in result.output.iterdir()) == [
        "best.safetensors",
        "checkpoints",
        "config.json",
        "curves.png",
        "evaluations",
        "last.safetensors",
        "metrics.csv",
        "metrics.jsonl",
        "report.html",
        "sessions.json",
    ]
    assert [path.name for path in sorted((result.output / "checkpoints").iterdir())] == [
        "step-00000002",
        "step-00000003",
    ]
    assert TrainConfig.from_dict(json.loads((result.output / "config.json").read_text())) == config
    steps = [row for row in result.metrics if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3]
    assert all(row.keys() >= LOSSES | {"learning_rate", "gradient_norm", "images_per_second", "epoch"} for row in steps)
    assert all(row["loss"] == pytest.approx(sum(row[name] for name in LOSSES), rel=1e-5) for row in steps)
    evaluations = [row for row in result.metrics if "mask_ap" in row]
    assert [row["step"] for row in evaluations] == [2, 3]
    # What `fastmrcnn eval` finds, and the losses from the same forward passes.
    last = load_model(result.output / "last.safetensors")
    again = evaluate(last, CocoDataset(scenes / "annotations.json", scenes / "images"), loss_seed=config.seed)
    assert evaluations[-1]["mask_ap"] == again.mask_ap
    assert {name[4:]: value for name, value in evaluations[-1].items() if name.startswith("val_")} == again.losses
    assert again.losses.keys() == LOSSES | {"loss"}
    assert load_model(result.output / "last.safetensors").config.class_names == CLASSES


WITHOUT_MASKS: dict[str, tuple[dict[str, None], set[str]]] = {
    "faster": ({"mask_head": None}, LOSSES - {"loss_mask"}),
    "proposals": ({"mask_head": None, "box_head": None}, {"loss_objectness", "loss_rpn_box_reg"}),
}


@pytest.mark.parametrize("parts", WITHOUT_MASKS)
def test_models_without_masks_are_kept_by_box_ap(
    parts: str, make_config: MakeConfig, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent, losses = WITHOUT_MASKS[parts]
    save_model(MaskRCNN(replace(tiny(CLASSES), **absent)), tmp_path / "start.safetensors")
    config = make_config(model=None, weights=str(tmp_path / "start.safetensors"), eval_annotations=scenes / "two.json")
    result = train(config)
    assert {name for name in result.metrics[0] if name.startswith("loss_")} == losses
    [evaluated] = [row for row in result.metrics if "box_ap" in row]
    assert evaluated["box_ap"] is not None
    assert evaluated["mask_ap"] is None
    assert (result.output / "best.safetensors").exists()
    assert "nan" not in capsys.readouterr().err


def test_the_loss_falls_on_two_images(make_config: MakeConfig, tmp_path: Path) -> None:
    annotations = write_dataset(tmp_path / "two", images=2, seed=3, size=(64, 96), classes=CLASSES)
    config = make_config(
        train_annotations=annotations,
        train_images=annotations.parent / "images",
        steps=25,
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="cosine",
        horizontal_flip=0.0,
    )
    losses = [row["loss"] for row in train(config, progress=False).metrics]
    assert sum(losses[-3:]) < 0.75 * sum(losses[:3])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"optimizer": "sgd", "ema": 0.9}, id="sgd, averaged"),
        pytest.param({"optimizer": "adamw", "accumulate": 2, "schedule": "onecycle"}, id="adamw, in parts"),
        # The backward pass of 16-bit convolutions takes seconds on a CPU: the heads alone are trained.
        pytest.param({"precision": "fp16", "ema": 0.9, "frozen_stages": 5}, id="scaled", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_bit_identical(make_config: MakeConfig, tmp_path: Path, changes: dict[str, Any]) -> None:
    drawn = {"color_jitter": 0.2, "copy_paste": 0.7}
    config = make_config(steps=3, min_size=64, learning_rate=1e-3, checkpoint_every=2, **drawn, **changes)
    whole = train(config, progress=False)
    cut = replace(config, output=tmp_path / "cut")
    interrupt_at_step(1, cut)
    with (cut.output / "metrics.jsonl").open("a") as stream:  # type: ignore[operator]
        stream.write('{"step": 2, "lo')  # the machine went down in the middle of a line
    torch.manual_seed(99)
    resumed = train(cut, resume=True, progress=False)
    assert_same_tensors(whole.output / "last.safetensors", resumed.output / "last.safetensors")
    columns = ["step", "loss", "learning_rate", "gradient_norm"]
    assert [[row[name] for name in columns] for row in whole.metrics] == [
        [row[name] for name in columns] for row in resumed.metrics
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adamw"}, r"^optimizer cannot change when a run is resumed: .*run has 'sgd'; got 'adamw'$"),
        ({"min_size": 64}, r"^min_size cannot change when a run is resumed: .*run has None; got 64$"),
        ({"steps": 1}, r"run: has 2 finished steps already; expected a longer run to resume than one of 1 steps$"),
    ],
)
def test_what_a_checkpoint_has_settled_cannot_change(
    make_config: MakeConfig, changes: dict[str, Any], message: str
) -> None:
    train(make_config(steps=2), progress=False)
    with pytest.raises(UserError, match=message):
        train(make_config(**({"steps": 3} | changes)), resume=True, progress=False)


def test_a_run_is_not_resumed_on_other_classes(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config(steps=1), progress=False)
    other = write_dataset(tmp_path / "other", images=2, seed=3, size=(64, 96), classes=("star", "box"))
    config = make_config(steps=2, train_annotations=other, train_images=other.parent / "images")
    with pytest.raises(
        UserError, match=r"annotations.json: expected the categories of .*: ball \(1\), star \(2\); got"
    ):
        train(config, resume=True, progress=False)


def test_other_images_of_a_resumed_run_are_noticed(
    make_config: MakeConfig, scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(make_config(steps=1), progress=False)
    moved = tmp_path / "moved"
    shutil.copytree(scenes / "images", moved)
    train(make_config(steps=2, train_images=moved), resume=True, progress=False)
    assert "never stopped" not in caplog.text
    document = json.loads((scenes / "annotations.json").read_text())
    document["images"].append(document["images"][0] | {"id": 77, "file_name": "another.jpg"})
    shutil.copy(moved / document["images"][0]["file_name"], moved / "another.jpg")
    more = tmp_path / "more.json"
    more.write_text(json.dumps(document))
    train(make_config(steps=3, train_annotations=more, train_images=moved), resume=True, progress=False)
    [warning] = [message for message in caplog.messages if "never stopped" in message]
    assert warning.startswith(f"{more}: the images, their order or their sizes are not those of the first 2 steps")
    caplog.clear()
    train(make_config(steps=4, train_annotations=more, train_images=moved), resume=True, progress=False)
    assert "never stopped" not in caplog.text


def test_the_backbone_may_come_from_elsewhere(make_config: MakeConfig, tmp_path: Path) -> None:
    torch.manual_seed(4)
    elsewhere = MaskRCNN(tiny(CLASSES))
    save_model(elsewhere, tmp_path / "elsewhere.safetensors")
    config = make_config(backbone=str(tmp_path / "elsewhere.safetensors"))
    data, _ = open_datasets(config)
    started = starting_model(config, data, torch.device("cpu")).state_dict()
    untouched = starting_model(make_config(), data, torch.device("cpu")).state_dict()
    for name, value in elsewhere.state_dict().items():
        expected = value if name.startswith("backbone.") else untouched[name]
        assert torch.equal(started[name], expected), name


def test_bf16_trains(make_config: MakeConfig) -> None:
    result = train(make_config(precision="bf16", steps=2), progress=False)
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in result.metrics)
    weights = load_file(result.output / "last.safetensors")
    assert {tensor.dtype for tensor in weights.values()} <= {torch.float32, torch.int64}


def test_images_of_sixteen_bits_train_and_are_evaluated(make_config: MakeConfig, tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :80]
    disc = (rows - 30) ** 2 + (columns - 40) ** 2 < 200
    pixels = np.where(disc, 9000, 700).astype(np.uint16)  # as microscopes write them
    for folder, content in (("images", pixels), ("masks", disc.astype(np.uint8))):
        (tmp_path / "cells" / folder).mkdir(parents=True)
        Image.fromarray(content).save(tmp_path / "cells" / folder / "a.png")
    cells = tmp_path / "cells"
    config = make_config(train_annotations=cells, train_images=None, eval_annotations=cells, steps=2, color_jitter=0.2)
    result = train(config, progress=False)
    assert result.evaluation is not None
    assert result.model.predict(cells / "images" / "a.png").image_size == (64, 80)


def test_fine_tuning_from_a_file_with_other_classes(make_config: MakeConfig, tmp_path: Path) -> None:
    first = train(make_config(steps=1), progress=False)
    write_dataset(tmp_path / "other", images=2, seed=1, size=(64, 96), classes=("box", "ring", "leaf"))
    config = make_config(
        weights=str(first.output / "last.safetensors"),
        train_annotations=tmp_path / "other" / "annotations.json",
        train_images=tmp_path / "other" / "images",
        output=tmp_path / "tuned",
        min_size=200,
        anchor_scale=0.5,
        anchor_ratios=(0.4, 1.0, 2.5),
        steps=1,
    )
    tuned = train(config, progress=False)
    assert tuned.model.config.class_names == ("box", "ring", "leaf")
    assert tuned.model.config.input.min_size == 200
    assert tuned.model.config.rpn.anchors.sizes[0] == (8.0,)
    assert tuned.model.config.rpn.anchors.aspect_ratios == (0.4, 1.0, 2.5)


def test_a_finished_run_resumes_to_the_same_result(make_config: MakeConfig, scenes: Path) -> None:
    config = make_config(steps=1, eval_annotations=scenes / "two.json")
    train(config, progress=False)
    before = load_file(config.output / "last.safetensors")  # type: ignore[operator]
    again = train(config, resume=True, progress=False)
    assert again.evaluation is not None
    assert [row["step"] for row in again.metrics if "loss" in row] == [1]
    assert all(torch.equal(value, before[name]) for name, value in load_file(again.output / "last.safetensors").items())


def test_the_callers_random_state_is_untouched(make_config: MakeConfig) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(make_config(steps=1), progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_refusals(make_config: MakeConfig, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run: expected a run to resume; there is no config\.json in it"):
        train(make_config(), resume=True, progress=False)
    with pytest.raises(UserError, match=r"nowhere\.json"):
        train(make_config(train_annotations=tmp_path / "nowhere.json"), progress=False)
    with pytest.raises(UserError, match="device must be auto, cpu, or cuda"):
        train(make_config(device="abacus"), progress=False)
    write_dataset(tmp_path / "other", images=1, seed=1, size=(64, 96), classes=("box",))
    other = tmp_path / "other" / "annotations.json"
    with pytest.raises(UserError, match=f"{other}: expected categories of {scenes / 'annotations.json'}"):
        train(make_config(eval_annotations=other, eval_images=tmp_path / "other" / "images"), progress=False)
    assert not (tmp_path / "run").exists()
    train(make_config(steps=1), progress=False)
    with pytest.raises(UserError, match="run: already holds a run"):
        train(make_config(steps=1), progress=False)


def test_metrics_of_a_missing_file(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_hole_in_the_metrics_costs_only_its_own_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\0\0\xff\n7\n{"step": 2}\n{"step": 3')
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]
    assert [message.partition(" is left out: ")[0] for message in caplog.messages] == [
        f"{path}: line 2",
        f"{path}: line 3",
    ]


def test_every_run_without_a_name_has_a_folder_of_its_own(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"missing\.safetensors"):
        train(make_config(output=None, weights="missing.safetensors"), progress=False)
    assert not Path("runs").exists()
    assert [next_free_output(), next_free_output()] == [Path("runs/train-1"), Path("runs/train-2")]
    assert train(make_config(output=None, steps=1), progress=False).output == Path("runs/train-3")
