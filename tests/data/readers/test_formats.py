"""One scene in every format: found out, read, and the same samples from all of them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from fastmrcnn.data import DataFormat, open_dataset, read_annotations
from fastmrcnn.data.loader import make_loader
from fastmrcnn.errors import UserError
from fastmrcnn.training import config
from tests.data.readers.same_scene import OBJECTS, WRITERS, bitmap, write_coco, write_image, write_json, write_via


def test_every_format_is_tested_and_an_option_of_training() -> None:
    assert tuple(WRITERS) == get_args(DataFormat) == get_args(config.DataFormat)


@pytest.mark.parametrize("format", WRITERS)
def test_every_format_gives_the_same_samples(format: str, tmp_path: Path) -> None:
    dataset = open_dataset(WRITERS[format](tmp_path), split="train")
    assert {"car", "person"} <= set(dataset.class_names)
    assert [Path(sample.path).exists() for sample in dataset] == [True, True]
    for sample, expected in zip(dataset, OBJECTS.values(), strict=True):
        names = [dataset.class_names[label] for label in sample.labels]
        found = [(name, *map(int, box)) for name, box in zip(names, sample.boxes.tolist(), strict=True)]
        assert sorted(found) == sorted(expected)
        masks = {tuple(item): mask for item, mask in zip(found, sample.masks.to_bitmaps(), strict=True)}
        assert all((masks[item].numpy() == bitmap(item[1:])).all() for item in expected)
        assert sample.areas.tolist() == sample.masks.areas().tolist()
        assert not sample.iscrowd.any()


@pytest.mark.parametrize("format", WRITERS)
def test_data_sets_go_to_the_workers_of_a_loader(format: str, tmp_path: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_dataset(WRITERS[format](tmp_path), split="train")))
    counts = [len(sample) for _, _, samples in make_loader(dataset, batch_size=1, workers=1) for sample in samples]
    assert counts == [3, 1]


@pytest.mark.parametrize("format", WRITERS)
def test_a_named_format_is_not_found_out(format: Any, tmp_path: Path) -> None:
    path = WRITERS[format](tmp_path)
    assert len(read_annotations(path, format=format, split="train").images) == 2


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("coco", "expected a JSON file with annotations; this is a folder"),
        ("via", "expected a JSON file with annotations; this is a folder"),
        ("labelme", "expected JSON files of LabelMe; found none"),
        ("yolo", "expected a YAML file of a YOLO data set, or a folder with one; found none"),
        ("voc", "expected a folder of VOC or a list in its ImageSets/Segmentation; found no SegmentationObject"),
        ("cityscapes", "expected instance images (*_instanceIds.png); found none"),
        (
            None,
            "expected a data set in one of the formats coco, via, labelme, yolo, voc, cityscapes, masks; it looks like "
            "none of them (--data-format names one, to be told what is missing)",
        ),
    ],
)
def test_an_empty_folder_is_none_of_them(format: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_annotations(tmp_path, format=format)
    assert str(caught.value) == f"{tmp_path}: {message}"


def test_an_empty_folder_has_no_masks(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_annotations(tmp_path, format="masks")
    assert str(caught.value) == f"{tmp_path / 'masks'}: expected a folder of masks; there is no such folder"


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path / "none.json")
    assert str(caught.value) == f"{tmp_path / 'none.json'}: expected a file or a folder of annotations; there is none"


@pytest.mark.parametrize("write", [write_coco, write_via])
def test_a_folder_stands_for_its_one_json_file(write: Any, tmp_path: Path) -> None:
    file = write(tmp_path)
    assert read_annotations(tmp_path) == read_annotations(file)


def test_json_of_another_kind(tmp_path: Path) -> None:
    file = write_json(tmp_path / "x.json", {"frames": []})
    with pytest.raises(UserError, match=r"x\.json: expected a data set in one of the formats coco, via, labelme"):
        read_annotations(file)


def test_classes_are_chosen_in_any_format(tmp_path: Path) -> None:
    dataset = open_dataset(WRITERS["cityscapes"](tmp_path), split="train", class_names=["person"])
    assert [sample.labels.tolist() for sample in dataset] == [[0], [0]]
    assert torch.equal(dataset[1].boxes, torch.tensor([[5.0, 5, 6, 6]]))


def test_images_in_another_folder(tmp_path: Path) -> None:
    file = write_via(tmp_path / "annotations")
    for name in OBJECTS:
        (tmp_path / "annotations" / f"{name}.png").unlink()
        write_image(tmp_path / "elsewhere" / f"{name}.png")
    assert len(open_dataset(file, tmp_path / "elsewhere")[0]) == 3
