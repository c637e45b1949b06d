"""Data sets of every format can be measured on: a detector that finds everything has an AP of 1."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastmrcnn.data import InstanceDataset, open_dataset
from fastmrcnn.evaluation import evaluate
from fastmrcnn.structures import Detections
from tests.data.readers.same_scene import WRITERS


class Oracle:
    """Answers with the annotated objects of the data set, which are full rectangles, image after image."""

    def __init__(self, dataset: InstanceDataset) -> None:
        self.class_names, self.category_ids = dataset.class_names, dataset.category_ids
        self.samples = iter(dataset)

    def predict(self, images: list[torch.Tensor], *, batch_size: int) -> list[Detections]:
        return [self.answer() for _ in images]

    def answer(self) -> Detections:
        sample = next(self.samples)
        return Detections(
            boxes=sample.boxes,
            scores=torch.full((len(sample),), 0.9),
            labels=sample.labels,
            mask_probs=torch.ones((len(sample), 28, 28)),
            image_size=(sample.image.shape[1], sample.image.shape[2]),
            class_names=self.class_names,
            category_ids=self.category_ids,
        )


@pytest.mark.parametrize("format", WRITERS)
def test_finding_everything_is_an_ap_of_one(format: str, tmp_path: Path) -> None:
    dataset = open_dataset(WRITERS[format](tmp_path), split="train")
    result = evaluate(Oracle(dataset), dataset)
    assert result.box_ap == pytest.approx(1)
    assert {name: result.per_class[name]["box_ap"] for name in ("car", "person")} == pytest.approx(
        {"car": 1, "person": 1}
    )
    assert result.mask_ap50 == pytest.approx(1)
