"""Pascal VOC: palettes, colours, void, other classes, and masks that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastmrcnn.data import open_dataset
from fastmrcnn.data.annotations import ImageRecord
from fastmrcnn.data.readers.label_images import read_labels, voc_palette
from fastmrcnn.errors import UserError
from tests.data.readers.same_scene import write_image, write_labels

HEIGHT, WIDTH = 12, 16


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Two objects, of the classes 7 and 15, with a void border between them."""
    objects, classes = np.zeros((HEIGHT, WIDTH), dtype=np.uint8), np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    objects[2:8, 1:5], classes[2:8, 1:5] = 1, 7
    objects[2:8, 6:9], classes[2:8, 6:9] = 2, 15
    objects[2:8, 5], classes[2:8, 5] = 255, 255
    return objects, classes


def write(folder: Path, objects: np.ndarray, classes: np.ndarray) -> Path:
    write_image(folder / "JPEGImages" / "a.jpg", HEIGHT, WIDTH)
    write_labels(folder / "SegmentationObject" / "a.png", objects)
    write_labels(folder / "SegmentationClass" / "a.png", classes)
    names = folder / "ImageSets" / "Segmentation" / "train.txt"
    names.parent.mkdir(parents=True)
    names.write_text("a\n")
    return folder


def test_objects_and_void(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, *masks()), split="train")
    assert len(dataset.class_names) == 20
    [sample] = dataset
    assert [dataset.class_names[label] for label in sample.labels] == ["car", "person"]
    assert sample.boxes.tolist() == [[1, 2, 5, 8], [6, 2, 9, 8]]


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_palette_images_and_their_colours(mode: str, tmp_path: Path) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = Image.fromarray(labels)
    picture.putpalette(voc_palette().astype(np.uint8).tobytes())
    picture.convert(mode).save(tmp_path / "a.png")
    found = read_labels(tmp_path / "a.png", ImageRecord(1, "a.jpg", 16, 16))
    np.testing.assert_array_equal(found, labels)


def test_the_palette_is_that_of_the_development_kit() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 7: (128, 128, 128), 15: (192, 128, 128), 20: (0, 64, 128)}
    assert {index: tuple(voc_palette()[index].tolist()) for index in known} == known
    assert voc_palette()[255].tolist() == [224, 224, 192]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nbolt:128,0,0::\nnut:0,128,0::\n"),
        ("class_names.txt", "__ignore__\n_background_\nbolt\nnut\n"),
    ],
)
def test_other_classes(name: str, text: str, tmp_path: Path) -> None:
    objects, classes = masks()
    classes[classes == 7], classes[classes == 15] = 1, 2
    write(tmp_path, objects, classes)
    (tmp_path / name).write_text(text)
    dataset = open_dataset(tmp_path, split="train")
    assert dataset.class_names == ("bolt", "nut")
    assert dataset[0].labels.tolist() == [0, 1]


def test_colours_of_other_classes(tmp_path: Path) -> None:
    objects, classes = masks()
    write(tmp_path, objects, classes)
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[[7, 15, 255]] = (0, 128, 0), (250, 50, 83), (224, 224, 192)  # the first one is VOC's second
    file = tmp_path / "SegmentationClass" / "a.png"
    Image.fromarray(colours[classes]).save(file)
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "bolt:0,128,0::", "nut:250,50,83::"]
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    [sample] = open_dataset(tmp_path, split="train")
    assert sample.labels.tolist() == [0, 1]
    assert sample.boxes.tolist() == [[1, 2, 5, 8], [6, 2, 9, 8]]
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(file)
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path, split="train")[0]
    assert str(caught.value) == f"{file}: expected numbers or colours of {tmp_path / 'labelmap.txt'}; got (1, 2, 3)"
    (tmp_path / "labelmap.txt").write_text("\n".join([*lines[:3], "nut:::"]))  # an unfinished list is none
    with pytest.raises(UserError, match="expected numbers or colours of Pascal VOC's palette"):
        open_dataset(tmp_path, split="train")[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda objects, classes: classes.__setitem__((2, 1), 8),
            "object 1: expected one class of 1..20 in {classes}; got 7, 8",
        ),
        (
            lambda objects, classes: classes.__setitem__(classes == 15, 0),
            "object 2: expected one class of 1..20 in {classes}; got 0",
        ),
        (
            lambda objects, classes: classes.__setitem__(classes == 7, 255),
            "object 1: expected one class of 1..20 in {classes}; got void alone",
        ),
    ],
)
def test_objects_without_a_class(change: Any, message: str, tmp_path: Path) -> None:
    objects, classes = masks()
    change(objects, classes)
    dataset = open_dataset(write(tmp_path, objects, classes), split="train")
    with pytest.raises(UserError) as caught:
        dataset[0]
    file = tmp_path / "SegmentationObject/a.png"
    assert str(caught.value) == f"{file}: {message.format(classes=tmp_path / 'SegmentationClass/a.png')}"


def test_masks_that_are_no_masks(tmp_path: Path) -> None:
    objects, classes = masks()
    write(tmp_path, objects[:-1], classes)
    file = tmp_path / "SegmentationObject/a.png"
    dataset = open_dataset(tmp_path, split="train")
    with pytest.raises(UserError) as caught:
        dataset[0]
    assert str(caught.value) == f"{file}: expected 16 x 12 pixels (width x height), as a.jpg has; got 16 x 11"
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(file)
    with pytest.raises(UserError) as caught:
        dataset[0]
    assert str(caught.value) == f"{file}: expected numbers or colours of Pascal VOC's palette; got (1, 2, 3)"
    file.write_bytes(b"")
    with pytest.raises(UserError) as caught:
        dataset[0]
    assert str(caught.value) == f"{file}: expected an image file; the file is empty"


def test_lists_that_name_what_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, *masks())
    names = tmp_path / "ImageSets/Segmentation/train.txt"
    names.write_text("a\nb\n")
    with pytest.raises(UserError) as caught:
        open_dataset(names)
    assert str(caught.value) == f"{names}: line 2: there is no image {tmp_path / 'JPEGImages/b.jpg'}"
    write_image(tmp_path / "JPEGImages" / "b.png", HEIGHT, WIDTH)
    with pytest.raises(UserError) as caught:
        open_dataset(names)
    assert str(caught.value) == f"{names}: line 2: there is no mask {tmp_path / 'SegmentationObject/b.png'}"
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path, split="val")
    assert str(caught.value) == f"{tmp_path}: expected the name of one of its splits (train); got val"
