"""Evaluate and predict: run by the tests in their own process, and by torchrun in two."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from fastmrcnn import distributed, load_model
from fastmrcnn.data import open_dataset
from fastmrcnn.evaluation import evaluate
from fastmrcnn.inference import PredictConfig, predict_files


def measure(scenes: Path, output: Path) -> None:
    """Write what is found in ``scenes``, one of them broken, and how good it is in batches of two, under ``output``."""
    dataset = open_dataset(scenes / "annotations.json", scenes / "images")
    result = evaluate(load_model("tiny"), dataset, batch_size=2, loss_seed=0)
    images = (str(scenes / "images"), str(scenes / "broken.png"))
    everything = ("coco", "overlays", "csv", "crops", "geojson", "labelme", "yolo", "labels")
    config = PredictConfig(
        images, output=output / "found", save=everything, score_threshold=0.1, batch_size=1, skip_broken=True
    )
    summary = dataclasses.asdict(predict_files(config, progress=False)) | {"seconds": 0, "output": ""}
    numbers = {"box": result.box, "mask": result.mask, "table": result.table, "losses": result.losses}
    (output / f"{distributed.rank()}.json").write_text(json.dumps([numbers, summary]))


if __name__ == "__main__":
    distributed.join()
    measure(*map(Path, sys.argv[1:]))
    distributed.leave()
