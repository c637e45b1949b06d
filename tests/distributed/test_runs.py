"""`torchrun -m fastmrcnn train`: the run of one process, its end by signals, and the errors of one process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.training import TrainConfig, read_metrics, train
from tests.distributed.torchrun import ENVIRONMENT, run, run_on_two_machines, torchrun

OPTIONS = {
    "model": "tiny",
    "steps": 4,
    "batch_size": 4,
    "workers": 1,
    "device": "cpu",
    "checkpoint_every": 2,
    "min_size": 64,
    "warmup_steps": 0,
    "learning_rate": 1e-3,
    "shown_images": 1,
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_dataset(folder, images=6, seed=3, size=(64, 96), classes=("ball", "star"))
    return folder


def config_of(scenes: Path, output: Path, **changes: Any) -> TrainConfig:
    annotations = scenes / "annotations.json"
    return TrainConfig(annotations, scenes / "images", annotations, output=output, **(OPTIONS | changes))


def words_of(config: TrainConfig, folder: Path) -> list[object]:
    """What follows ``torchrun`` to train as ``config`` says."""
    path = folder / "options.json"
    path.write_text(json.dumps({name: value for name, value in config.to_dict().items() if value is not None}))
    return ["-m", "fastmrcnn", "train", "--config", path]


@pytest.fixture(scope="module")
def of_two(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two processes."""
    folder = tmp_path_factory.mktemp("two")
    done = run(*words_of(config_of(scenes, folder / "run"), folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained to step 4") == 1
    assert done.stdout.count("Average Precision") == 12
    assert "Warning" not in done.stderr, done.stderr
    return folder / "run"


def test_the_training_is_that_of_one_process(scenes: Path, of_two: Path, tmp_path: Path) -> None:
    alone = train(config_of(scenes, tmp_path / "run"), progress=False)
    rows = read_metrics(of_two / "metrics.jsonl")
    assert [(row["step"], "loss" in row) for row in rows] == [(row["step"], "loss" in row) for row in alone.metrics]
    first, expected = rows[0], alone.metrics[0]
    for name in [name for name in expected if "loss" in name]:
        assert first[name] == pytest.approx(expected[name], rel=1e-3), name
    losses = [row["loss"] for row in rows if "loss" in row]
    # Rounding grows from step to step, by the choice of other proposals.
    assert losses == pytest.approx([row["loss"] for row in alone.metrics if "loss" in row], rel=0.1)


def test_two_machines_train_as_two_processes_of_one(scenes: Path, of_two: Path, tmp_path: Path) -> None:
    done = run_on_two_machines(*words_of(config_of(scenes, tmp_path / "run"), tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained to step 4") == 1
    assert_equal_bits(of_two, tmp_path / "run")


def assert_equal_bits(expected: Path, found: Path) -> None:
    """Of the last weights of two runs."""
    whole, other = load_file(expected / "last.safetensors"), load_file(found / "last.safetensors")
    assert [name for name, value in whole.items() if not torch.equal(value, other[name])] == []


def cut_short(run_folder: Path, copy: Path) -> None:
    """A copy of a finished run as it was after its second step."""
    shutil.copytree(run_folder, copy)
    shutil.rmtree(copy / "checkpoints" / "step-00000004")
    (copy / "last.safetensors").unlink()


def test_a_resumed_run_has_the_same_bits(scenes: Path, of_two: Path, tmp_path: Path) -> None:
    cut_short(of_two, tmp_path / "run")
    done = run("-m", "fastmrcnn", "train", "--resume", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert_equal_bits(of_two, tmp_path / "run")


def test_a_run_may_go_on_in_one_process(scenes: Path, of_two: Path, tmp_path: Path) -> None:
    cut_short(of_two, tmp_path / "run")
    resumed = train(config_of(scenes, tmp_path / "run"), resume=True, progress=False)
    expected = [row["loss"] for row in read_metrics(of_two / "metrics.jsonl") if "loss" in row]
    found = [row["loss"] for row in resumed.metrics if "loss" in row]
    assert found[:2] == expected[:2]
    assert found[2] == pytest.approx(expected[2], rel=1e-3)


@contextmanager
def endless_run(scenes: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of two processes that has taken its first steps."""
    config = config_of(scenes, folder / "run", steps=100_000)
    launcher = subprocess.Popen(
        torchrun(*words_of(config, folder)), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        limit = time.monotonic() + 90
        while len(read_metrics(folder / "run" / "metrics.jsonl")) < 3:
            assert launcher.poll() is None, launcher.communicate()[1]
            assert time.monotonic() < limit
            time.sleep(0.1)
        yield launcher
    finally:
        launcher.kill()


def processes_of(launcher: subprocess.Popen[str]) -> list[int]:
    """The training processes, without those that read their images."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return [child for child in map(int, children) if b"fastmrcnn" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_signal_ends_all_after_the_same_step(scenes: Path, tmp_path: Path) -> None:
    with endless_run(scenes, tmp_path) as launcher:
        launcher.send_signal(signal.SIGTERM)
        _, errors = launcher.communicate(timeout=60)
    steps = [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    newest = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())[-1]
    assert newest == f"step-{steps[-1]:08d}"
    assert errors.count("fastmrcnn: interrupted") == 1, errors


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_other(rank: int, scenes: Path, tmp_path: Path) -> None:
    with endless_run(scenes, tmp_path) as launcher:
        trainers = processes_of(launcher)
        assert len(trainers) == 2
        of_rank = {environment(pid)["RANK"]: pid for pid in trainers}
        os.kill(of_rank[str(rank)], signal.SIGKILL)
        _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    assert errors.count("another process of this run has ended") <= 1  # torchrun may end it before it notices
    assert "loop.py" not in errors, errors
    assert all(not Path(f"/proc/{pid}").exists() for pid in trainers)


def environment(pid: int) -> dict[str, str]:
    items = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(item.split("=", 1) for item in items if "=" in item)


@pytest.mark.parametrize("broken", [pytest.param("training", marks=pytest.mark.slow), "evaluation"])
def test_an_image_that_one_process_cannot_read(broken: str, scenes: Path, tmp_path: Path) -> None:
    """Its error is told once, and costs no finished step."""
    shutil.copytree(scenes, tmp_path / "broken")
    # The second step is the first one with the image 2, and of evaluations the second process has the images 4 and 5.
    victim = sorted((tmp_path / "broken" / "images").iterdir())[2 if broken == "training" else 4]
    victim.write_bytes(victim.read_bytes()[:200])
    config = config_of(scenes, tmp_path / "run", evaluate_every=1, checkpoint_every=0, eval_images=scenes / "images")
    config = replace(config, **{"train_images" if broken == "training" else "eval_images": victim.parent})
    done = run(*words_of(config, tmp_path))
    assert done.returncode != 0
    own = [line for line in done.stderr.splitlines() if "fastmrcnn: error" in line]
    assert len(own) == 1, done.stderr
    assert str(victim) in own[0]
    assert "gloo" not in done.stderr
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]
