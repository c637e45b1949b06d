"""A prediction that was interrupted goes on where it was, and its results are those of one that was not."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.inference import PredictConfig, predict_files, staging
from fastmrcnn.inference.journal import read_journals
from fastmrcnn.inference.outputs.overlays import Overlays
from fastmrcnn.inference.outputs.yolo import Yolo
from fastmrcnn.inference.pictures import Picture, Pictures
from fastmrcnn.inference.sources import image_files
from fastmrcnn.structures import Detections
from tests.distributed.torchrun import run

SAVE = ("coco", "csv", "overlays", "yolo")  # each way of writing: lines in parts, files, links
PICTURES = 17  # with batches of two a window has 16


@pytest.fixture
def config(tmp_path: Path) -> PredictConfig:
    """A run on small images, ``1.png`` to ``17.png``."""
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0)
    for number in range(1, PICTURES + 1):
        image = pixels.integers(0, 256, (40, 30 + number, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "photos" / f"{number}.png")
    found = tmp_path / "found"
    photos = (str(tmp_path / "photos"),)
    return PredictConfig(photos, output=found, save=SAVE, score_threshold=0.01, readers=0, device="cpu")


def uninterrupted(config: PredictConfig) -> dict[str, bytes]:
    """What a run writes that nothing disturbs, in a folder at the same depth, for relative paths."""
    output = config.output.with_name("whole")
    predict_files(dataclasses.replace(config, output=output), progress=False)
    return files_of(output)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kill_at(picture: str, config: PredictConfig, *, processes: int = 1) -> Path:
    """Run until the results of ``picture`` are half written; the folder that is left."""
    written = config.output.with_name("config.json")
    written.write_text(json.dumps(dataclasses.asdict(config), default=str))
    script = Path(__file__).with_name("interrupted.py")
    if processes > 1:
        assert run(script, written, picture).returncode != 0
    else:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # sums are taken in the same order
        done = subprocess.run([sys.executable, script, written, picture], env=environment, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert not config.output.exists()
    return config.output.with_name(".found.unfinished")


def stop_at(picture: str, config: PredictConfig) -> Path:
    """:func:`kill_at` in this process, by Ctrl-C."""
    draw = Overlays.add

    def draw_or_stop(output: Overlays, drawn: Picture, image: Tensor, found: Detections) -> None:
        if drawn.name == picture:
            raise KeyboardInterrupt
        draw(output, drawn, image, found)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Overlays, "add", draw_or_stop)
        predict_files(config, progress=False)
    return config.output.with_name(".found.unfinished")


def go_on(config: PredictConfig, caplog: pytest.LogCaptureFixture) -> str:
    """Run to the end; what is told of the earlier one."""
    with caplog.at_level(logging.INFO, "fastmrcnn"):
        caplog.clear()
        summary = predict_files(config, progress=False)
    assert summary.images == PICTURES
    goes_on = re.search(r"goes on, (\d+) of", caplog.text)
    assert summary.earlier == (int(goes_on[1]) if goes_on else 0)
    assert not config.output.with_name(".found.unfinished").exists()
    return caplog.text


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_killed_run_goes_on(config: PredictConfig, batch_size: int, caplog: pytest.LogCaptureFixture) -> None:
    config = dataclasses.replace(config, batch_size=batch_size)
    left = kill_at("17" if batch_size > 1 else "5", config)
    first = (left / "results" / "overlays" / "1.jpg").stat()
    told = go_on(config, caplog)
    assert f"goes on, {16 if batch_size > 1 else 4} of 17 images are done" in told
    again = (config.output / "overlays" / "1.jpg").stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)  # not drawn a second time
    assert files_of(config.output) == uninterrupted(config)


def test_threads_that_write_are_waited_for(config: PredictConfig, caplog: pytest.LogCaptureFixture) -> None:
    config = dataclasses.replace(config, readers=3)
    kill_at("7", config)
    go_on(config, caplog)
    assert files_of(config.output) == uninterrupted(config)


@pytest.mark.parametrize("where", ["finish", "move"])
def test_what_is_done_outlives_its_last_moments(
    config: PredictConfig, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """When files are made of parts, or take their places."""
    whole = uninterrupted(config)
    (config.output / "overlays").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if where == "finish":
            patch.setattr(Yolo, "finish", stop)  # the last one
        else:
            patch.setattr(staging, "_move", stop_after(9, staging._move))
        predict_files(config, progress=False)
    assert "17 of 17 images are done" in caplog.text
    assert len(files_of(config.output)) == (9 if where == "move" else 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Overlays, "add", stop)  # nothing is drawn again
        assert "goes on, 17 of 17 images are done" in go_on(config, caplog)
    assert files_of(config.output) == whole


def test_results_that_moved_and_are_gone_begin_anew(config: PredictConfig, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(staging, "_move", stop_after(9, staging._move))
        predict_files(config, progress=False)
    shutil.rmtree(config.output)
    assert "begins anew" in go_on(config, caplog)
    assert files_of(config.output) == uninterrupted(config)


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def stop_after(count: int, work: Callable[..., None]) -> Callable[..., None]:
    left = iter(range(count))
    return lambda *about: stop() if next(left, None) is None else work(*about)


@pytest.mark.slow  # starts two processes
def test_one_process_goes_on_where_two_were(config: PredictConfig, caplog: pytest.LogCaptureFixture) -> None:
    kill_at("7", config, processes=2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes had
    try:
        assert "goes on" in go_on(config, caplog)
        assert files_of(config.output) == uninterrupted(config)
    finally:
        torch.set_num_threads(threads)


def test_a_broken_image_may_be_mended(config: PredictConfig, caplog: pytest.LogCaptureFixture) -> None:
    whole = uninterrupted(config)
    broken = Path(config.images[0]) / "6.png"
    sound = broken.read_bytes()
    broken.write_bytes(sound[:50])
    for _ in range(2):  # and fails again where it did
        with pytest.raises(UserError, match=r"6\.png: expected an image file"):
            predict_files(config, progress=False)
    told = "5 of 17 images are done; the same command goes on from there, with --skip-broken past images that do not"
    assert told in caplog.text
    broken.write_bytes(sound)
    assert "goes on, 5 of 17 images are done" in go_on(config, caplog)
    assert files_of(config.output) == whole


def test_skipped_images_stay_skipped(config: PredictConfig, caplog: pytest.LogCaptureFixture) -> None:
    (Path(config.images[0]) / "2.png").write_bytes(b"no image")
    config = dataclasses.replace(config, skip_broken=True)
    stop_at("5", config)
    with caplog.at_level(logging.INFO, "fastmrcnn"):
        summary = predict_files(config, progress=False)
    assert "goes on, 4 of 17" in caplog.text
    assert (summary.images, summary.earlier, len(summary.broken)) == (16, 3, 1)
    assert "2.png: expected an image file" in summary.broken[0]


@pytest.mark.parametrize("changes", [{"score_threshold": 0.3}, {"save": ("coco",)}, {"batch_size": 2}])
def test_other_options_begin_anew(
    config: PredictConfig, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    left = stop_at("5", config)
    changed = dataclasses.replace(config, **changes)
    assert f"{left.with_name('found')}: begins anew" in go_on(changed, caplog)
    assert files_of(config.output) == uninterrupted(changed)


def test_another_image_begins_anew(config: PredictConfig, caplog: pytest.LogCaptureFixture) -> None:
    stop_at("5", config)
    Image.new("RGB", (70, 50)).save(Path(config.images[0]) / "3.png")
    assert "begins anew" in go_on(config, caplog)
    assert files_of(config.output) == uninterrupted(config)


def test_what_was_cut_off_in_the_notes_is_done_again(config: PredictConfig, caplog: pytest.LogCaptureFixture) -> None:
    left = stop_at("5", config)
    notes, part = left / "finished.0-0.jsonl", left / "predictions.part-0-0"
    notes.write_bytes(notes.read_bytes()[:-30])
    part.write_bytes(longer := part.read_bytes() + b'3\t{"image_id": 4, "categ')
    read_journals(left, Pictures(image_files(config.images)), window=1)
    assert part.read_bytes() == longer  # who asks may not be the only one at work
    assert "goes on, 3 of 17 images are done" in go_on(config, caplog)
    assert files_of(config.output) == uninterrupted(config)


def test_a_process_that_outlives_the_first_one_is_waited_for(config: PredictConfig) -> None:
    left = stop_at("5", config)
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"
    )
    words = [sys.executable, "-c", hold, left / "finished.0-0.jsonl"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UserError, match=r"unfinished: expected no other process at work in this folder"):
            predict_files(config, progress=False)
        other.communicate(b"\n")
    assert predict_files(config, progress=False).images == PICTURES


@pytest.mark.parametrize("lost", ["instances.part-0-0", "finished.0-0.jsonl"])
def test_lost_notes_begin_anew(config: PredictConfig, lost: str, caplog: pytest.LogCaptureFixture) -> None:
    left = stop_at("5", config)
    (left / lost).write_text("")
    go_on(config, caplog)
    assert files_of(config.output) == uninterrupted(config)
