"""Training in a process of its own that dies of a signal, and what two runs must have in common."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fastmrcnn.models import MaskRCNN
from fastmrcnn.training import TrainConfig, read_metrics, train

CLASSES = ("ball", "star")  # of the fixture `scenes`

# What a resumed run repeats to the bit; how long it took is another matter.
TIMES = {"images_per_second", "seconds", "data_seconds", "memory_gib"}

_PROGRAM = """
import os, signal, sys
from fastmrcnn.cli.main import main
{hook}
sys.exit(main(sys.argv[1:]))
"""

# Each is run before training starts. A signal comes in the middle of a step: between forward and backward.
_SIGNAL_IN_STEP = """
from fastmrcnn.models import MaskRCNN
losses, calls = MaskRCNN.losses, 0
def interrupted(*arguments):
    global calls
    calls += 1
    if calls == {call}:
        {send}
    return losses(*arguments)
MaskRCNN.losses = interrupted
"""
_KILL_IN_CHECKPOINT = """
from fastmrcnn.training import checkpoint
written = checkpoint.write_tensors
def killed(tensors, path, **options):
    written(tensors, path, **options)
    if {step} == int(options["shown"].parent.name.split("-")[1].split(".")[0]):
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.write_tensors = killed
"""


# Drawing takes longer than these runs: see the fixture `pages`.
WITHOUT_PAGES = """
from fastmrcnn.training.watch import page
page.write_run_report = page.save_curves = lambda *_, **__: None
"""


def sigterm_to_the_group(call: int) -> str:
    return _SIGNAL_IN_STEP.format(call=call, send="os.killpg(0, signal.SIGTERM)")


def sigkill(call: int) -> str:
    return _SIGNAL_IN_STEP.format(call=call, send="os.kill(os.getpid(), signal.SIGKILL)")


def sigkill_in_checkpoint(step: int) -> str:
    return _KILL_IN_CHECKPOINT.format(step=step)


def start(*words: str, hook: str = "") -> subprocess.Popen[str]:
    """``fastmrcnn WORDS`` in a process group of its own, after the statements of ``hook``."""
    command = [sys.executable, "-W", "error", "-c", _PROGRAM.format(hook=hook), *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, text=True, start_new_session=True, **pipes)


def died_of(process: subprocess.Popen[str]) -> tuple[int | signal.Signals, str]:
    """The exit code, or the signal that ended the process, and what it printed."""
    printed, _ = process.communicate(timeout=300)
    code = process.returncode
    return (signal.Signals(-code) if code < 0 else code), printed


def assert_same_tensors(first: Path, second: Path) -> None:
    ours, theirs = load_file(first), load_file(second)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def assert_same_run(first: Path, second: Path) -> None:
    """All that two runs left behind is the same to the bit: weights, averages, optimizer, metrics."""
    names = {path.relative_to(first) for path in first.rglob("*.safetensors")}
    assert names == {path.relative_to(second) for path in second.rglob("*.safetensors")}
    assert names
    for name in names:
        assert_same_tensors(first / name, second / name)
    ours, theirs = (
        [{name: value for name, value in row.items() if name not in TIMES} for row in read_metrics(run)]
        for run in (first / "metrics.jsonl", second / "metrics.jsonl")
    )
    assert ours == theirs


def interrupt_at_step(step: int, config: TrainConfig) -> None:
    """Train with Ctrl-C pressed during ``step``."""
    calls = 0
    losses = MaskRCNN.losses

    def interrupted(self: MaskRCNN, *arguments: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == step:
            signal.raise_signal(signal.SIGINT)
        return losses(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskRCNN, "losses", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, progress=False)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that is full as soon as a file has ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
