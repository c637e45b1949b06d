"""The demo end to end, with random weights: every part runs, whatever the weights find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fastmrcnn.data.masks import encode_rle
from fastmrcnn.data.scenes import CLASS_NAMES
from fastmrcnn.demo import DemoConfig, run_demo
from fastmrcnn.demo.photograph import count_matches
from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, tiny
from fastmrcnn.structures import Detections
from fastmrcnn.weights import save_model


def square(x: float, y: float, side: float = 10.0) -> list[float]:
    return [x, y, x + side, y + side]


def detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    """Square instances that fill their boxes, in an image of 40 x 60 pixels."""
    return Detections(
        boxes=torch.tensor(boxes).reshape(-1, 4),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels, dtype=torch.int64),
        mask_probs=torch.ones(len(boxes), 28, 28),
        image_size=(40, 60),
        class_names=("coin", "ball"),
        category_ids=(1, 2),
    )


def outline(x: int, y: int) -> dict[str, object]:
    mask = torch.zeros(40, 60, dtype=torch.bool)
    mask[y : y + 10, x : x + 10] = True
    return encode_rle(mask.numpy())


def test_each_coin_is_found_once() -> None:
    outlines = [outline(0, 0), outline(20, 0), outline(40, 20)]
    twice = detections([square(0, 0), square(1, 0), square(21, 1)], [0.9, 0.8, 0.7], [0, 0, 0])
    assert count_matches(outlines, twice) == 2
    far = detections([square(6, 6)], [0.9], [0])
    assert count_matches(outlines, far) == 0
    other_class = detections([square(0, 0)], [0.9], [1])
    assert count_matches(outlines, other_class) == 0
    assert count_matches(outlines, detections([], [], [])) == 0
    assert count_matches([], twice) == 0


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "random.safetensors"
    save_model(MaskRCNN(tiny(CLASS_NAMES)), weights)
    config = DemoConfig(output=tmp_path / "demo", weights=str(weights), images=2, steps=2, device="cpu")
    for _ in range(2):  # the second demo replaces the first
        metrics = run_demo(config)
    printed = capsys.readouterr().out
    assert f"Look at  {tmp_path / 'demo' / 'report.html'}" in printed
    assert "fastmrcnn train --train-annotations YOUR.json" in printed
    written = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert written.keys() == metrics.keys() >= {"box_ap", "mask_ap", "mask_ap50", "seconds", "images_per_second"}
    assert written["coins"] == 24
    assert written["device"] == "cpu"
    assert written["versions"].keys() == {"fastmrcnn", "torch", "python"}
    assert written["fine_tuning"]["steps"] == 2
    report = (tmp_path / "demo" / "report.html").read_text()
    for text in ("Held-out scenes", "A photograph", "Fine-tuning", "data:image/"):
        assert text in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_a_demo_without_weights_leaves_nothing(tmp_path: Path) -> None:
    config = DemoConfig(output=tmp_path / "demo", weights="no-such-weights", images=1)
    with pytest.raises(UserError, match="no-such-weights"):
        run_demo(config, progress=False)
    assert list(tmp_path.iterdir()) == []
