"""YOLO: its YAML file, the trees that exporters write, and the mistakes of a label file."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmrcnn.data import open_dataset
from fastmrcnn.errors import UserError
from tests.data.readers.same_scene import write_image

SQUARE = "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"
HEIGHT, WIDTH = 20, 40


def write(folder: Path, yaml: str, line: str = SQUARE, image: str = "images/train/a.png") -> Path:
    write_image(folder / image, HEIGHT, WIDTH)
    labels = (folder / image.replace("images", "labels")).with_suffix(".txt")
    labels.parent.mkdir(parents=True, exist_ok=True)
    labels.write_text(line)
    (folder / "data.yaml").write_text(yaml)
    return folder / "data.yaml"


@pytest.mark.parametrize(
    ("yaml", "image"),
    [
        ("train: images/train\nnames: [cat, dog]", "images/train/a.png"),
        ("train: images/train\nnames: [cat, dog]", "images/train/below/a.png"),
        ("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']", "train/images/a.png"),
        ("path: data\ntrain: [images/train]\nnames: {0: cat, 1: dog}", "data/images/train/a.png"),
        ("path: ../elsewhere\ntrain: images/train\nnames: {0: cat, 1: dog}", "images/train/a.png"),
    ],
)
def test_trees(yaml: str, image: str, tmp_path: Path) -> None:
    for path in (write(tmp_path, yaml, image=image), tmp_path):
        dataset = open_dataset(path, split="train")
        assert dataset.class_names == ("cat", "dog")
        assert dataset.category_ids == (0, 1)
        [sample] = dataset
        assert sample.path == tmp_path / image or sample.path.samefile(tmp_path / image)
        assert sample.boxes.tolist() == [[4, 2, 20, 10]]


def test_lists_of_images(tmp_path: Path) -> None:
    file = write(tmp_path, "train: train.txt\nval: val.txt\nnames: [cat]")
    write(tmp_path, file.read_text(), "", "images/val/b.png")
    file.write_text(file.read_text().replace("val:", "validation:"))
    (tmp_path / "train.txt").write_text("./images/train/a.png\n\n")
    (tmp_path / "val.txt").write_text(f"{tmp_path / 'images/val/b.png'}\n")
    assert [len(sample) for sample in open_dataset(file, split="train")] == [1]
    assert [len(sample) for sample in open_dataset(file, split="val")] == [0]


def test_images_without_labels_and_in_another_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "set", "train: images/train\nnames: [cat]")
    write_image(tmp_path / "set/images/train/b.png", HEIGHT, WIDTH)
    assert [len(sample) for sample in open_dataset(file, split="train")] == [1, 0]
    (tmp_path / "set").rename(tmp_path / "moved")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat]")
    assert len(open_dataset(tmp_path / "data.yaml", tmp_path / "moved", split="train")) == 2


def test_labels_of_no_image(tmp_path: Path) -> None:
    file = write(tmp_path, "train: images/train\nnames: [cat]")
    labels = tmp_path / "labels/train"
    for name, text in (("classes", "cat\n"), ("empty", "\n"), ("counts", "1\n2\n")):
        (labels / f"{name}.txt").write_text(text)
    (labels / "notes.txt").write_bytes(b"\xff")
    assert len(open_dataset(file, split="train")) == 1
    (labels / "b.txt").write_text(SQUARE)
    with pytest.raises(UserError) as caught:
        open_dataset(file, split="train")
    assert str(caught.value) == f"{labels / 'b.txt'}: there is no image of these labels"
    (tmp_path / "train.txt").write_text("./images/train/a.png\n")  # a part of what is there
    file.write_text("train: train.txt\nnames: [cat]")
    assert len(open_dataset(file, split="train")) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.1 0.1 0.5 0.1 0.5 x", "expected numbers; got '0 0.1 0.1 0.5 0.1 0.5 x'"),
        ("2 0.1 0.1 0.5 0.1 0.5 0.5", "expected a class within 0..1; got 2"),
        ("0 0.5 0.5 0.2 0.2", "expected the outline of an object; got a box: this is a data set without masks"),
        ("0 0.1 0.1 0.5 0.1 0.5", "expected a polygon of at least 3 points (x, y); got 5 numbers"),
        ("0 0.1 0.1 50 0.1 0.5 0.5", "expected coordinates as fractions of the image's sides, 0..1; got 50"),
        ("0 0.1 0.1 nan 0.1 0.5 0.5", "expected coordinates as fractions of the image's sides, 0..1; got nan"),
    ],
)
def test_mistakes_in_a_label_file(line: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, "train: images/train\nnames: [cat, dog]", f"{SQUARE}\n{line}\n")
    with pytest.raises(UserError) as caught:
        open_dataset(file, split="train")
    assert str(caught.value) == f"{tmp_path / 'labels/train/a.txt'}: line 2: {message}"


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: [", "expected YAML; while parsing a flow node"),
        ("- a", "expected YAML with names and splits; got a list"),
        ("train: images/train", "expected names, a list or an object of them by number; got null"),
        ("train: images/train\nnames: {a: cat}", "expected names by whole numbers; got a"),
        ("train: images/train\nnames: [cat, cat]", "the name 'cat' appears twice; expected unique names"),
        ("test: images/train\nnames: [cat]", "expected the name of one of its splits (test); got train"),
        ("train: images/none\nnames: [cat]", "there is no folder of images {folder}/images/none"),
        ("train: labels/train\nnames: [cat]", "expected images in train (labels/train); found none"),
    ],
)
def test_mistakes_in_the_yaml_file(yaml: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, yaml)
    with pytest.raises(UserError) as caught:
        open_dataset(file, split="train")
    assert str(caught.value) == f"{file}: {message.format(folder=tmp_path)}"
