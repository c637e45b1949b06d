"""Whatever is wrong in a file: the data set is read, or refused in one line that names a file of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmrcnn.data import open_dataset
from fastmrcnn.errors import UserError
from tests.data.readers.same_scene import WRITERS, write_json

STRANGE = [
    None,
    True,
    -1,
    0,
    3,
    1e300,
    float("nan"),
    2.5,
    "",
    "x",
    "é" * 300,
    "\x00",
    [],
    [[]],
    [1],
    [None],
    {},
    {"": 1},
]


def damage_value(document: Any, rng: np.random.Generator) -> Any:
    """A copy of a JSON value with something in it replaced, left out or said twice."""
    root = {"": copy.deepcopy(document)}
    holder, key = root, ""
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.9:
        holder = holder[key]
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = keys[rng.integers(len(keys))]
    if holder is not root and rng.random() < 0.2:
        del holder[key]
    elif isinstance(holder, list) and rng.random() < 0.2:
        holder.append(holder[key])
    else:
        holder[key] = STRANGE[rng.integers(len(STRANGE))]
    return root[""]


def damage_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes overwritten, or the end cut off."""
    damaged = bytearray(content)
    if rng.random() < 0.3:
        return bytes(damaged[: rng.integers(len(damaged))])
    for place in rng.integers(0, len(damaged), rng.integers(1, 5)):
        damaged[place] = rng.integers(256)
    return bytes(damaged)


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
