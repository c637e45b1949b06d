"""Streams and cameras: frames of now, results that grow, and that are complete whatever ends them."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastmrcnn.inference import predict_files, predict_video
from fastmrcnn.models import MaskRCNN
from fastmrcnn.weights import load_model
from tests.inference.video.films import config_for, frames_of, moving_frames, write_film


@contextmanager
def served(film: Path, seconds: float) -> Iterator[str]:
    """The address of a stream that sends an MPEG-TS again and again for so long, a frame's worth every 0.02 s."""
    content = film.read_bytes()
    listening = socket.create_server(("127.0.0.1", 0))
    end = time.monotonic() + seconds

    def send() -> None:
        connection, _ = listening.accept()
        with connection:
            try:
                while time.monotonic() < end:
                    for first in range(0, len(content), 188 * 16):
                        connection.sendall(content[first : first + 188 * 16])
                        time.sleep(0.02)
            except OSError:
                return  # whoever looked on has gone

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        end = 0.0
        listening.close()
        thread.join(10)


@pytest.fixture
def broadcast(tmp_path: Path) -> Path:
    return write_film(tmp_path / "broadcast.ts", moving_frames(300), codec="mpeg4")


def test_a_stream_that_ends(tmp_path: Path, weights: str, broadcast: Path) -> None:
    output = tmp_path / "found"
    with served(broadcast, seconds=2.5) as address:
        config = config_for(address, weights, output, save=("coco", "jsonl", "video"), score_threshold=0.3)
        summary = predict_files(config, progress=False)
    assert summary.images > 0
    lines = [json.loads(line) for line in (output / "detections.jsonl").read_text().splitlines()]
    listed = json.loads((output / "images.json").read_text())["images"]
    assert [line["id"] for line in lines] == [entry["id"] for entry in listed]
    assert len(listed) == summary.images == len(frames_of(next((output / "video").iterdir())))
    assert all(entry["file_name"] == address and "date_captured" in entry for entry in listed)
    assert sum(len(line["detections"]) for line in lines) == summary.detections


def test_every_frame_of_a_stream_by_choice(weights: str, broadcast: Path) -> None:
    model = load_model(weights, device="cpu")
    with served(broadcast, seconds=20) as address:
        found = predict_video(model, address, live=False, max_frames=12, score_threshold=0.9)
        assert [frame.number for frame, _ in found] == list(range(1, 13))


def test_a_camera_that_tells_no_times(tmp_path: Path, weights: str) -> None:
    """Of bare JPEGs FFmpeg takes there to be 25 a second; these come faster."""
    film = write_film(tmp_path / "broadcast.mjpeg", moving_frames(40), codec="mjpeg")
    began = time.monotonic()
    with served(film, seconds=20) as address:
        model = load_model(weights, device="cpu")
        options = ["formatprobesize=5000"]  # bytes to guess the format from, which trickle in
        frames = [frame for frame, _ in predict_video(model, address, end=0.6, score_threshold=0.9, options=options)]
    assert frames[-1].number > 20
    assert 0.0 < frames[-1].time < time.monotonic() - began


def test_what_a_camera_sees_is_read_while_it_runs_and_complete_after_ctrl_c(
    tmp_path: Path, weights: str, broadcast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, read, ended = tmp_path / "found", [], threading.Event()
    slow = MaskRCNN.detect_prepared

    def detect_slowly(self: MaskRCNN, *inputs: Any) -> Any:
        time.sleep(0.15)
        return slow(self, *inputs)

    def look_then_interrupt() -> None:
        patience = time.monotonic() + 30
        while len(read) < 3 and time.monotonic() < patience:
            time.sleep(0.05)
            if (output / "detections.jsonl").exists():
                read[:] = (output / "detections.jsonl").read_text().splitlines()
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(MaskRCNN, "detect_prepared", detect_slowly)
    with served(broadcast, seconds=40) as address:
        threading.Thread(target=look_then_interrupt).start()
        try:
            summary = predict_files(config_for(address, weights, output, score_threshold=0.3), progress=False)
        finally:
            ended.set()
    assert len(read) >= 3
    assert summary.images >= len(read)
    assert summary.dropped > 0
    lines = [json.loads(line) for line in (output / "detections.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines[: len(read)]] == [json.loads(line)["id"] for line in read]
    listed = json.loads((output / "images.json").read_text())["images"]
    assert len(lines) == len(listed) == summary.images
    assert len(json.loads((output / "predictions.json").read_text())) == summary.detections
    assert json.loads((output / "predict.json").read_text())["save"] == ["coco", "jsonl"]
