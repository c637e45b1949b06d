"""A run that is stopped at any step, by whatever signal, and resumed is to the bit the run that never stopped."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fastmrcnn.cli.main import main
from fastmrcnn.training import TrainConfig, read_metrics, train
from tests.training.runs import (
    WITHOUT_PAGES,
    assert_same_run,
    died_of,
    sigkill,
    sigkill_in_checkpoint,
    sigterm_to_the_group,
    start,
)

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def whole(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A run that nothing disturbed, with everything that carries something from step to step; and its configuration."""
    config = TrainConfig(
        train_annotations=scenes / "annotations.json",
        train_images=scenes / "images",
        eval_annotations=scenes / "two.json",
        output=tmp_path_factory.mktemp("whole") / "run",
        model="tiny",
        min_size=64,
        steps=5,
        batch_size=2,
        accumulate=2,
        optimizer="adamw",
        learning_rate=1e-3,
        schedule="onecycle",
        ema=0.9,
        color_jitter=0.2,
        workers=2,
        device="cpu",
        threads=2,
        checkpoint_every=2,
        evaluate_every=3,
        shown_images=0,
    )
    train(config, progress=False)
    return config


def written(config: TrainConfig, folder: Path) -> str:
    """A file of the options of ``config``, with another folder for the output."""
    folder.mkdir(exist_ok=True)
    path = folder / "options.json"
    path.write_text(json.dumps(replace(config, output=folder / "run").to_dict()))
    return str(path)


# Calls of the losses: two a step, so that 6 is in the second half of step 3.
@pytest.mark.parametrize(
    ("hook", "end", "steps_kept"),
    [
        pytest.param(sigterm_to_the_group(call=1), 130, 1, id="SIGTERM in step 1", marks=pytest.mark.slow),
        pytest.param(sigterm_to_the_group(call=6), 130, 3, id="SIGTERM in step 3, before its evaluation"),
        pytest.param(sigkill(call=2), signal.SIGKILL, 0, id="SIGKILL before the first checkpoint"),
        pytest.param(sigkill(call=8), signal.SIGKILL, 2, id="SIGKILL in step 4", marks=pytest.mark.slow),
        pytest.param(sigkill_in_checkpoint(step=4), signal.SIGKILL, 2, id="SIGKILL in a checkpoint"),
    ],
)
def test_a_run_that_died_resumes_to_the_same_bits(
    whole: TrainConfig, tmp_path: Path, hook: str, end: int | signal.Signals, steps_kept: int
) -> None:
    run = tmp_path / "run"
    process = start("train", "--config", written(whole, tmp_path), hook=WITHOUT_PAGES + hook)
    died, printed = died_of(process)
    assert died == end, printed
    finished = sorted(folder.name for folder in (run / "checkpoints").glob("step-*"))
    assert finished[-1:] == ([f"step-{steps_kept:08d}"] if steps_kept else [])
    if end == 130:
        assert f"fastmrcnn train --resume {run}" in printed
    assert main(["train", "--resume", str(run)]) == 0
    assert_same_run(whole.output, run)  # type: ignore[arg-type]
    assert not list(run.rglob(".*"))


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_in_the_same_bits(whole: TrainConfig, tmp_path: Path) -> None:
    chances = random.Random(7)
    run, words = tmp_path / "run", ["train", "--config", written(whole, tmp_path)]
    for _ in range(4):  # of which each gets one row further at least
        if (run / "last.safetensors").exists():
            break
        before = len(read_metrics(run / "metrics.jsonl"))
        process = start(*words)
        while process.poll() is None and len(read_metrics(run / "metrics.jsonl")) <= before:
            time.sleep(0.02)
        time.sleep(chances.random())
        number = chances.choice([signal.SIGKILL, signal.SIGTERM])
        if process.poll() is None:
            os.killpg(process.pid, number)
        died, printed = died_of(process)
        assert died in (number, 130, 143, 0), printed
        if (run / "config.json").exists():
            words = ["train", "--resume", str(run)]
    assert main(["train", "--resume", str(run)]) == 0
    assert_same_run(whole.output, run)  # type: ignore[arg-type]
    shutil.rmtree(run)
