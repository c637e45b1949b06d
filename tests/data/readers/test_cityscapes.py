"""Cityscapes: groups, what the benchmark ignores, other trees and other classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastmrcnn.data import open_dataset
from fastmrcnn.errors import UserError
from tests.data.readers.same_scene import write_image, write_json, write_labels

HEIGHT, WIDTH = 20, 24


def labels() -> np.ndarray:
    """Road, two cars that touch, a group of persons, a caravan."""
    pixels = np.full((HEIGHT, WIDTH), 7)
    pixels[2:6, 2:8], pixels[2:6, 8:12] = 26000, 26001
    pixels[10:16, 0:20] = 24
    pixels[17:19, 3:9] = 29000
    return pixels


def write(root: Path) -> Path:
    write_image(root / "leftImg8bit/val/ulm/ulm_0_1_leftImg8bit.png", HEIGHT, WIDTH)
    write_labels(root / "gtFine/val/ulm/ulm_0_1_gtFine_instanceIds.png", labels())
    return root


def test_instances_groups_and_stuff(tmp_path: Path) -> None:
    write(tmp_path)
    for path in (tmp_path, tmp_path / "gtFine/val", tmp_path / "gtFine/val/ulm"):
        dataset = open_dataset(path, split="val")
        assert dataset.class_names == ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
        [sample] = dataset
        assert [dataset.class_names[label] for label in sample.labels] == ["person", "car", "car"]
        assert sample.iscrowd.tolist() == [True, False, False]
        assert sample.boxes.tolist() == [[0, 10, 20, 16], [2, 2, 8, 6], [8, 2, 12, 6]]


def test_another_tree_with_other_classes(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg", HEIGHT, WIDTH)
    write_labels(tmp_path / "labels/a.png", labels())
    write_json(tmp_path / "classes.json", {"29": "caravan", "26": "car"})
    dataset = open_dataset(tmp_path / "labels", tmp_path / "images", format="cityscapes")
    assert dataset.class_names == ("car", "caravan")
    assert dataset[0].labels.tolist() == [0, 0, 1]


def test_mistakes(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "gtFine/val/ulm/ulm_0_1_gtFine_instanceIds.png"
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path, split="train")
    assert str(caught.value) == f"{tmp_path}: expected the name of one of its splits (val); got train"
    write_labels(file, labels()[:, :-2])
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path, split="val")[0]
    name = "ulm/ulm_0_1_leftImg8bit.png"
    assert str(caught.value) == f"{file}: expected 24 x 20 pixels (width x height), as {name} has; got 22 x 20"
    image = tmp_path / "leftImg8bit/val" / name
    image.unlink()
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path, split="val")
    assert str(caught.value) == f"{file}: there is no image {image}"
    classes = write_json(tmp_path / "classes.json", ["car"])
    write(tmp_path)
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path, split="val")
    assert str(caught.value) == f"{classes}: expected an object of names by class number; got a list"
    write_json(classes, {"24": "car", "26": "car"})
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path, split="val")
    assert str(caught.value) == f"{classes}: expected distinct names of classes; got car, car"
