"""Whatever is wrong in a file, the doctor and training agree on whether it can be trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmrcnn.data import open_dataset
from fastmrcnn.doctor import DoctorConfig, Split, examine, problems_of, write_repaired
from fastmrcnn.errors import UserError
from tests.data.readers.damage import damage_bytes, damage_value
from tests.data.readers.same_scene import WRITERS, write_json


def can_be_trained_on(path: Path, images: Path | None = None) -> bool:
    try:
        data = open_dataset(path, images, split="train")
        for index in range(len(data)):
            data[index]
    except UserError:
        return False
    return True


def examined(path: Path, folder: Path) -> tuple[list[Split], bool]:
    """The splits, none where the doctor refuses, and whether the data set is fit for training."""
    splits: list[Split] = []
    refusal = None
    try:
        splits = examine(path, DoctorConfig(workers=1))
    except UserError as error:
        refusal = str(error)
    if refusal is not None:
        assert refusal.startswith(str(folder))
        assert "\n" not in refusal
        return [], False
    assert all("\n" not in str(problem) for problem in problems_of(splits))
    return splits, all(problem.kind.severity != "error" for problem in problems_of(splits))


def check_agreement(path: Path, folder: Path) -> bool:
    """Whether the doctor found the data set fit, which training must think too; a repaired copy must be fit."""
    splits, fit = examined(path, folder)
    assert fit == can_be_trained_on(path), [str(problem) for problem in problems_of(splits)]
    if splits and not fit and any(image.sound for image in splits[0].images):
        copied = folder.parent / "repaired"
        [file] = write_repaired(splits, copied)
        assert can_be_trained_on(file, file.with_suffix(""))
        shutil.rmtree(copied)
    return fit


@pytest.mark.parametrize("format", ["coco", "via", "labelme"])
def test_damaged_json(format: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    path = WRITERS[format](folder)
    file = path if path.is_file() else path / "a.json"
    document, rng = json.loads(file.read_text()), np.random.default_rng(2)
    fit = []
    for _ in range(100):
        damaged: Any = damage_value(document, rng)
        for _ in range(rng.integers(3)):
            damaged = damage_value(damaged, rng)
        write_json(file, damaged)
        fit.append(check_agreement(path, folder))
    assert 3 < sum(fit) < 97


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("yolo", "labels/train/a.txt"),
        ("yolo", "data.yaml"),
        ("voc", "ImageSets/Segmentation/train.txt"),
        ("voc", "SegmentationObject/a.png"),
        ("cityscapes", "gtFine/train/ulm/ulm_a_gtFine_instanceIds.png"),
        ("masks", "masks/a/car/0.png"),
        ("masks", "images/a.png"),
    ],
)
def test_damaged_bytes(format: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    path, file, rng = WRITERS[format](folder), folder / name, np.random.default_rng(3)
    content = file.read_bytes()
    fit = []
    for _ in range(30):
        file.write_bytes(damage_bytes(content, rng))
        fit.append(check_agreement(path, folder))
    assert not all(fit)
