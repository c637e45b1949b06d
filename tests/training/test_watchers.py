"""What watches a run: files of rows, the bar, and sinks that fail."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm import tqdm

from fastmrcnn.errors import UserError
from fastmrcnn.training import TrainConfig, read_metrics, train
from fastmrcnn.training.watch import Row, Sink, Watchers, watchers
from fastmrcnn.training.watch.bar import ProgressBar
from fastmrcnn.training.watch.memory import memory_row
from fastmrcnn.training.watch.tables import CsvTable, JsonLines
from tests.training.runs import largest_file

STEP: Row = {
    "step": 1,
    "learning_rate": 0.02,
    "loss": 1.25,
    "loss_mask": 0.5,
    "images_per_second": 3.5,
    "memory_gib": 1.5,
}
EVALUATION: Row = {"step": 1, "box_ap": 0.25, "mask_ap": None}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_of_every_kind_share_one_csv_table(tmp_path: Path) -> None:
    table = CsvTable(tmp_path / "metrics.csv", [STEP])
    for row in (EVALUATION, STEP | {"step": 2, "loss_keypoint": float("nan")}, EVALUATION | {"step": 2}):
        table.write(row)
    table.close("finished")
    rows = read_csv(tmp_path / "metrics.csv")
    assert list(rows[0]) == [*STEP, "box_ap", "mask_ap", "loss_keypoint"]
    assert [row["step"] for row in rows] == ["1", "1", "2", "2"]
    assert [row["loss"] for row in rows] == ["1.25", "", "1.25", ""]
    assert [row["box_ap"] for row in rows] == ["", "0.25", "", "0.25"]
    assert rows[2]["loss_keypoint"] == ""


@pytest.mark.parametrize("kind", [JsonLines, CsvTable])
def test_a_full_disk_costs_no_row_and_leaves_no_half_one(
    kind: type[JsonLines | CsvTable], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics"
    watching = Watchers([kind(path)])
    watching.write(STEP)
    whole = path.read_bytes()
    with largest_file(len(whole) + 9):
        for step in (2, 3):
            watching.write(STEP | {"step": step})
    assert path.read_bytes() == whole
    [line] = caplog.messages  # once, not at every step
    assert line == f"{path}: cannot be written now, training goes on: {os.strerror(errno.EFBIG)}"
    monkeypatch.setattr(watchers.time, "monotonic", lambda: 1e9)  # half a minute later there is room again
    watching.write(STEP | {"step": 4})
    watching.close()
    rows: list[Any] = read_metrics(path) if kind is JsonLines else read_csv(path)
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert len(caplog.messages) == 1


def test_what_waits_for_a_full_disk_does_not_fill_the_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    full = True

    class Disk(Sink):
        def write(self, row: Row) -> None:
            if full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            told.append(row["step"])

        def sync(self) -> None:
            told.append("sync")

    monkeypatch.setattr(watchers, "MOST_WAITING", {"row": 3, "sync": 1, "end": 1})
    watching = Watchers([Disk()])
    for step in range(1, 7):
        watching.write({"step": step})
        watching.sync()
    full = False
    watching.close()
    assert told == [4, 5, 6, "sync"]  # the newest, in their order
    assert caplog.messages[-1] == "sink: is not complete: 3 rows or evaluations are lost"


def test_what_could_never_be_kept_is_said_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watching = Watchers([JsonLines(tmp_path / "metrics.jsonl"), CsvTable(tmp_path / "metrics.csv")])
    with largest_file(0):
        watching.write(STEP)
        watching.close()
    for name in ("metrics.jsonl", "metrics.csv"):
        assert f"{tmp_path / name}: is not complete: {os.strerror(errno.EFBIG)}" in caplog.messages


def test_a_bug_in_a_sink_is_not_hidden() -> None:
    class Broken(Sink):
        def write(self, row: Row) -> None:
            raise KeyError("loss")

    with pytest.raises(KeyError):
        Watchers([Broken()]).write(STEP)


def test_the_bar_shows_losses_rate_speed_memory_and_time_left() -> None:
    terminal = io.StringIO()
    with tqdm(total=2, file=terminal, ncols=200, desc="train", mininterval=0) as bar:
        shown = ProgressBar(bar)
        shown.write(STEP | {"gpu_memory_gib": 9.5})
        bar.refresh()
        assert "loss 1.250, 3.5 images/s, lr 0.02, GPU 9.5 GiB, host 1.5 GiB, mask 0.500" in terminal.getvalue()
        assert "<" in terminal.getvalue().rpartition("1/2 [")[2]  # elapsed<left
        with shown.doing("evaluate"):
            assert bar.desc == "evaluate"
        assert bar.desc == "train"


def test_an_evaluation_is_a_line_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with tqdm(total=2, file=io.StringIO()) as bar:
        ProgressBar(bar).write(EVALUATION)
        ProgressBar(bar).write({"step": 2, "box_ap": None})
    assert capsys.readouterr().out == "step 1: box AP 0.250\nstep 2: nothing to measure\n"


def test_memory_is_that_of_this_process() -> None:
    before = memory_row(torch.device("cpu"))
    held = torch.ones(2**26)  # 256 MiB
    assert 0.2 < memory_row(torch.device("cpu"))["memory_gib"] - before["memory_gib"] < 0.3
    assert before.keys() == {"memory_gib"}
    del held


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (UserError("step 3: training diverged"), "stopped: step 3: training diverged"),
        (RuntimeError("out of memory\nsee"), "failed: RuntimeError: out of memory"),
    ],
)
def test_however_a_run_ends_its_sinks_are_told(
    error: BaseException, outcome: str, make_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(JsonLines, "close", lambda self, outcome: told.append(outcome))
    config = make_config()
    config.output.mkdir()  # type: ignore[union-attr]
    with pytest.raises(type(error)), watchers.watching(config, history=[], first_step=0, total_steps=3, progress=False):
        raise error
    assert told == [outcome]


def test_a_run_may_say_how_it_ended(make_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(JsonLines, "close", lambda self, outcome: told.append(outcome))
    config = make_config()
    config.output.mkdir()  # type: ignore[union-attr]
    with watchers.watching(config, history=[], first_step=0, total_steps=3) as watching:
        watching.outcome = "stopped early: it got no better"
    assert told == ["stopped early: it got no better"]


def test_both_tables_of_a_resumed_run_hold_the_same_rows(make_config: Callable[..., TrainConfig]) -> None:
    train(make_config(steps=1), progress=False)
    result = train(make_config(steps=2), resume=True, progress=False)
    rows = [json.loads(line) for line in (result.output / "metrics.jsonl").read_text().splitlines()]
    table = read_csv(result.output / "metrics.csv")
    assert [row["step"] for row in rows] == [1, 2]
    assert [{name: str(value) for name, value in row.items()} for row in rows] == table
    assert all(0 <= row["data_seconds"] <= row["seconds"] for row in rows)
