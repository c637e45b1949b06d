"""Whatever is wrong in a file: the data set is read, or refused in one line that names a file of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmrcnn.data import open_dataset
from fastmrcnn.errors import UserError
from tests.data.readers.damage import damage_bytes, damage_value
from tests.data.readers.same_scene import WRITERS, write_json


def read_or_refuse(path: Path, folder: Path, format: Any) -> bool:
    """Whether all samples could be read."""
    message = None
    try:
        dataset = open_dataset(path, format=format, split="train")
        assert all(len(sample) == len(sample.masks) for sample in dataset)
    except UserError as error:
        message = str(error)
    assert message is None or (message.startswith(str(folder)) and "\n" not in message)
    return message is None


@pytest.mark.parametrize("format", ["coco", "via", "labelme"])
def test_damaged_json(format: str, tmp_path: Path) -> None:
    path = WRITERS[format](tmp_path)
    file = path if path.is_file() else path / "a.json"
    document, rng = json.loads(file.read_text()), np.random.default_rng(0)
    read = []
    for _ in range(400):
        write_json(file, damage_value(document, rng))
        read.append(read_or_refuse(path, tmp_path, format))
    assert 20 < sum(read) < 380


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("coco", "coco.json"),
        ("labelme", "a.json"),
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
    path, file, rng = WRITERS[format](tmp_path), tmp_path / name, np.random.default_rng(1)
    content, read = file.read_bytes(), []
    for _ in range(100):
        file.write_bytes(damage_bytes(content, rng))
        read.append(read_or_refuse(path, tmp_path, format))
    assert not all(read)
