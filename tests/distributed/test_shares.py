"""Two processes evaluate and predict what one does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.inference.share import windows_of_share
from tests.distributed.shares import measure
from tests.distributed.torchrun import run, run_on_two_machines


@pytest.mark.parametrize("start", [run, run_on_two_machines])
def test_two_processes_find_and_measure_what_one_does(start: Callable[..., Any], tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    write_dataset(scenes, images=5, seed=3, size=(96, 128))
    (scenes / "broken.png").write_bytes(b"no image")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes have: sums are taken in the same order
    measure(scenes, tmp_path / "one")
    torch.set_num_threads(threads)
    done = start(Path(__file__).with_name("shares.py"), scenes, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    of_one = json.loads((tmp_path / "one" / "0.json").read_text())
    assert of_one[1]["detections"] > 5
    assert of_one[1]["broken"]
    for rank in range(2):
        assert json.dumps(json.loads((tmp_path / "two" / f"{rank}.json").read_text())) == json.dumps(of_one)
    names = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one" / "found").rglob("*.*"))
    # For each picture an overlay, two files of polygons, one for YOLO and its link, two label images; a crop for each
    # instance; and what is about all of them.
    assert len(names) == 5 * 7 + of_one[1]["detections"] + 5
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["0.json", "1.json", "found"]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_window_is_in_one_share_or_finished(processes: int) -> None:
    finished = [1, 0, 0, 1, 0, 0, 0]
    shares = [windows_of_share(finished, rank, processes) for rank in range(processes)]
    assert sorted(window for share in shares for window in share) == [1, 2, 4, 5, 6]
    assert all(share == sorted(share) for share in shares)
