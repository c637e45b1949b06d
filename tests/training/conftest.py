"""A data set of a few small scenes, and configurations that train on it in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.training import TrainConfig
from tests.training.runs import CLASSES


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``annotations.json`` and ``images``: 5 scenes of 64 to 96 pixels. ``two.json`` has two of them: to
    evaluate takes longer than to train."""
    folder = tmp_path_factory.mktemp("scenes")
    document = json.loads(write_dataset(folder, images=5, seed=3, size=(64, 96), classes=CLASSES).read_text())
    kept = [image["id"] for image in document["images"][:2]]
    document["images"] = document["images"][:2]
    document["annotations"] = [item for item in document["annotations"] if item["image_id"] in kept]
    (folder / "two.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write an empty report and empty curves: drawing them takes longer than most runs of these tests."""

    def touch(output: Path, *_: object, **__: object) -> None:
        (output / "report.html").touch()
        (output / "curves.png").touch()

    monkeypatch.setattr("fastmrcnn.training.watch.page.write_run_report", touch)
    monkeypatch.setattr("fastmrcnn.training.watch.page.save_curves", lambda rows, path: None)


@pytest.fixture
def make_config(scenes: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Configurations on ``scenes`` that start from a random tiny model and write to ``run`` in the test's folder. No
    pictures are drawn, which takes longer than their evaluations."""

    def make(**changes: Any) -> TrainConfig:
        defaults = {
            "train_annotations": scenes / "annotations.json",
            "train_images": scenes / "images",
            "output": tmp_path / "run",
            "model": None if "weights" in changes else "tiny",
            "steps": 3,
            "batch_size": 2,
            "workers": 0,
            "device": "cpu",
            "checkpoint_every": 0,
            "shown_images": 0,
        }
        return TrainConfig(**(defaults | changes))

    return make
