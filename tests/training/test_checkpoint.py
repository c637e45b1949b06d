"""Checkpoints that are damaged, on a disk that is full, and beside what killed processes left."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastmrcnn.data import CocoDataset
from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, presets
from fastmrcnn.training import TrainConfig, checkpoint, read_metrics, train
from fastmrcnn.training.checkpoint import checkpoint_folders, load_checkpoint, load_newest, save_checkpoint
from fastmrcnn.training.config import read_config_fields
from fastmrcnn.training.state import TrainState
from tests.training.runs import assert_same_run, assert_same_tensors, largest_file

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")


def state_after(step: int, config: TrainConfig, scenes: Path) -> TrainState:
    dataset = CocoDataset(scenes / "annotations.json", scenes / "images")
    state = TrainState.of(MaskRCNN(presets.tiny(dataset.class_names, dataset.category_ids)), config, CPU)
    state.step = step
    return state


def test_who_may_read_the_folder_may_read_its_files(make_config: MakeConfig, scenes: Path, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, state_after(1, make_config(ema=0.5), scenes), keep=1)
    (tmp_path / "other").touch()
    expected = stat.filemode((tmp_path / "other").stat().st_mode)
    assert {path.name: stat.filemode(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(
        ("average.safetensors", "optimizer.safetensors", "state.json", "weights.safetensors"), expected
    )


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def flip_a_digit(path: Path) -> None:
    path.write_text(path.read_text().replace('"step": 2', '"step": 3').replace('"step": 1', '"step": 0'))


def list_no_sizes(path: Path) -> None:
    """As no disk would: the checksum is right."""
    rest = json.loads(path.read_text())
    rest["files"] = {name: [1] for name in rest["files"]}
    del rest["crc32"]
    path.write_text(json.dumps(rest | {"crc32": zlib.crc32(json.dumps(rest, sort_keys=True).encode())}))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.json", flip_a_digit),
        ("state.json", cut),
        ("state.json", empty),
        ("state.json", Path.unlink),
        ("weights.safetensors", cut),
        ("average.safetensors", Path.unlink),
        ("optimizer.safetensors", empty),
        ("optimizer.safetensors", flip),
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    name: str,
    damage: Callable[[Path], None],
    make_config: MakeConfig,
    scenes: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = make_config(ema=0.9)
    first, second = (save_checkpoint(tmp_path, state_after(step, config, scenes), keep=2) for step in (1, 2))
    damage(second / name)
    state = load_newest(tmp_path, config, CPU)
    assert state is not None
    assert state.step == 1
    [warning] = caplog.messages
    assert warning.startswith(f"skipped a damaged checkpoint: {second / name}: ")
    assert warning.endswith("; continuing from step 1")
    assert first.is_dir()


def test_a_damaged_checkpoint_is_replaced_and_two_are_an_error(
    make_config: MakeConfig, scenes: Path, tmp_path: Path
) -> None:
    config = make_config()
    first, second = (save_checkpoint(tmp_path, state_after(step, config, scenes), keep=2) for step in (1, 2))
    cut(second / "weights.safetensors")
    assert save_checkpoint(tmp_path, state_after(2, config, scenes), keep=2) == second
    assert load_checkpoint(second, config, CPU).step == 2
    for folder in (first, second):
        cut(folder / "weights.safetensors")
    with pytest.raises(UserError, match=r"expected a checkpoint that can be read; .*step-00000002") as caught:
        load_newest(tmp_path, config, CPU)
    assert "\n" not in str(caught.value)


def test_a_state_that_is_none_is_one_error(make_config: MakeConfig, scenes: Path, tmp_path: Path) -> None:
    config = make_config()
    folder = save_checkpoint(tmp_path, state_after(1, config, scenes), keep=1)
    moved = folder.rename(folder.with_name("step-00000007"))
    with pytest.raises(UserError, match=r"state.json: expected the state of step-00000007; got that of step 1"):
        load_checkpoint(moved, config, CPU)
    moved.rename(folder)
    list_no_sizes(folder / "state.json")
    with pytest.raises(UserError, match=r"optimizer.safetensors: expected the file of the checkpoint; its size is"):
        load_checkpoint(folder, config, CPU)


def test_a_run_goes_on_before_its_damaged_checkpoint(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(steps=3, checkpoint_every=1, keep_checkpoints=3)
    whole = train(config, progress=False)
    again = replace(config, output=tmp_path / "again")
    shutil.copytree(whole.output, tmp_path / "again")
    cut(tmp_path / "again" / "checkpoints" / "step-00000003" / "weights.safetensors")
    train(again, resume=True, progress=False)
    assert_same_run(whole.output, tmp_path / "again")


def test_a_short_run_has_checkpoints_on_its_way_where_nothing_is_said(make_config: MakeConfig) -> None:
    output = train(make_config(steps=2, checkpoint_every=None), progress=False).output
    assert [folder.name for folder in checkpoint_folders(output)] == ["step-00000001", "step-00000002"]
    assert read_config_fields(output / "config.json")["checkpoint_every"] == 1


def test_a_checkpoint_replaces_those_beyond_it(make_config: MakeConfig, scenes: Path, tmp_path: Path) -> None:
    config = make_config()
    for step in (4, 8, 6):  # 8 was damaged and skipped
        save_checkpoint(tmp_path, state_after(step, config, scenes), keep=2)
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["step-00000004", "step-00000006"]


def test_an_old_checkpoint_that_stays_ends_no_run(
    make_config: MakeConfig,
    scenes: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    config = make_config()
    monkeypatch.setattr(checkpoint, "remove_directory", full)  # as of file systems that need space to remove
    for step in (1, 2):
        save_checkpoint(tmp_path, state_after(step, config, scenes), keep=1)
    assert "step-00000001: an old checkpoint cannot be removed" in caplog.text
    newest = load_newest(tmp_path, config, CPU)
    assert newest is not None
    assert newest.step == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one checkpoint and half of a second."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=45m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system takes rights that this process does not have")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_costs_no_finished_checkpoint(make_config: MakeConfig, small_disk: Path) -> None:
    config = make_config(steps=4, checkpoint_every=2)
    whole = train(config, progress=False)
    full = replace(config, output=small_disk / "run")
    with pytest.raises(UserError, match="No space left on device") as caught:
        train(full, progress=False)
    run = small_disk / "run"
    finished, failed = (run / "checkpoints" / name for name in ("step-00000002", "step-00000004"))
    message = str(caught.value)
    assert message.startswith(f"{failed}: cannot be written: ")
    assert f"the newest finished checkpoint is {finished}" in message
    assert message.endswith(f"continue with: fastmrcnn train --resume {run}")
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000002"]
    assert_same_tensors(
        finished / "weights.safetensors", whole.output / finished.relative_to(run) / "weights.safetensors"
    )
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl")] == [1, 2, 3, 4]
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    train(full, resume=True, progress=False)
    assert_same_run(whole.output, run)


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(
    make_config: MakeConfig, scenes: Path, tmp_path: Path
) -> None:
    config = make_config()
    first = save_checkpoint(tmp_path, state_after(1, config, scenes), keep=1)
    with largest_file(2**20), pytest.raises(UserError, match=r"step-00000002: cannot be written: .*File too large"):
        save_checkpoint(tmp_path, state_after(2, config, scenes), keep=1)
    assert list((tmp_path / "checkpoints").iterdir()) == [first]
    assert load_checkpoint(first, config, CPU).step == 1


def test_what_cannot_be_written_at_the_end_is_one_error(make_config: MakeConfig) -> None:
    config = make_config(steps=1)
    last = config.output / "last.safetensors"  # type: ignore[operator]
    last.mkdir(parents=True)
    expected = (
        r"last\.safetensors: cannot write a file here: this is a folder; the newest .*/step-00000001; when it can, "
    )
    with pytest.raises(UserError, match=expected + f"continue with: fastmrcnn train --resume {config.output}"):
        train(config, progress=False)
    last.rmdir()
    assert train(config, resume=True, progress=False).steps == 1
    assert last.is_file()


def test_nothing_half_written_stays(make_config: MakeConfig) -> None:
    config = make_config(steps=1)
    assert config.output is not None
    killed = [
        config.output / "checkpoints" / ".step-00000001.partial-ab12_xyz" / "weights.safetensors",
        config.output / ".last.partial-q7_0abcd.safetensors",
    ]
    kept = config.output / ".notes"
    for path in (*killed, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    train(config, progress=False)
    assert [path for path in config.output.rglob("*") if path.name.startswith(".")] == [kept]
