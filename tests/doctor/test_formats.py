"""The faults of the six formats beside COCO: all of them found in one go, with file and number; the rest repaired."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastmrcnn.data import open_dataset
from fastmrcnn.doctor import DoctorConfig, Problem, examine, problems_of, write_repaired
from tests.data.readers.same_scene import WRITERS, write_image, write_labels

Place = tuple[str, str, "int | str | None", str]  # kind, end of the file, number, part of the text


def changed(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def break_via(folder: Path) -> list[Place]:
    def change(document: Any) -> None:
        regions = document["a.png1234"]["regions"]
        regions[0]["shape_attributes"] = {"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}
        regions[1]["region_attributes"] = {}
        document["c"] = {"filename": "c.png", "size": 1, "regions": [regions[2]]}

    changed(folder / "via_region_data.json", change)
    file = "via_region_data.json"
    return [
        ("invalid-polygon", file, 0, "at least 3 points"),
        ("invalid-annotation", file, 1, "expected a class in the attribute 'type'"),
        ("missing-image", file, None, "there is no image"),
    ]


def break_labelme(folder: Path) -> list[Place]:
    def change(document: Any) -> None:
        shapes = document["shapes"]
        shapes[0]["points"] = [[5, 5], [2, 1]]  # of a mask: not the size of its picture
        shapes[1] = {"label": "person", "points": [[1, 1], [2, 2]], "shape_type": "polygon"}
        shapes.append({"label": "car", "points": [[1, 1]], "shape_type": "point"})
        shapes.append({"label": "car", "points": [[50, 50], [60, 70]], "shape_type": "rectangle"})

    changed(folder / "a.json", change)
    (folder / "c.json").write_text('{"shapes": [')
    (folder / "d.json").write_text('{"shapes": [], "imagePath": "d.png"}')
    write_image(folder / "e.png")
    outline = {"label": "car", "points": [[50, 10], [70, 10], [70, 50]], "shape_type": "polygon"}
    size = {"imageHeight": 60, "imageWidth": 80}  # the image was made smaller since
    (folder / "e.json").write_text(json.dumps({"shapes": [outline], "imagePath": "e.png", **size}))
    return [
        ("invalid-annotation", "a.json", 0, "expected a mask from its first point to its second"),
        ("invalid-polygon", "a.json", 1, "at least 3 points"),
        ("invalid-annotation", "a.json", 3, "got a point, which has no area"),
        ("empty-mask", "", 4, "off the image"),
        ("invalid-annotation", "c.json", None, "broken JSON"),
        ("missing-image", "d.json", None, "there is no image"),
        ("wrong-image-size", "", None, "the annotations say 80 x 60 pixels (width x height), the file has 40 x 30"),
    ]


def break_yolo(folder: Path) -> list[Place]:
    labels = folder / "labels" / "train" / "a.txt"
    lines = labels.read_text().splitlines()
    lines += ["7 0 0 0.5 0 0.5 0.5", "0 0 0 0.5", "0 0.5 0.5 0.5 0.5", "1 0.1 0.1 0.1 0.1 0.1 0.1", "0 0 0 40 0 40 30"]
    labels.write_text("\n".join(lines))
    truncate(folder / "images" / "train" / "b.png")
    (labels.parent / "c.txt").write_text(lines[0])
    return [
        ("missing-image", "c.txt", None, "there is no image of these labels"),
        ("unknown-category", "a.txt", 4, "a class within 0..1; got 7"),
        ("invalid-polygon", "a.txt", 5, "at least 3 points"),
        ("invalid-annotation", "a.txt", 6, "got a box: this is a data set without masks"),
        ("empty-mask", "", 7, "has no pixel"),
        ("invalid-annotation", "a.txt", 8, "as fractions of the image's sides"),
        ("undecodable-image", "", None, "does not decode"),
    ]


def break_voc(folder: Path) -> list[Place]:
    for name in ("c", "d"):
        write_image(folder / "JPEGImages" / f"{name}.jpg")
    write_labels(folder / "SegmentationObject" / "d.png", np.ones((3, 3)))
    write_labels(folder / "SegmentationClass" / "d.png", np.ones((3, 3)))
    classes = np.array(Image.open(folder / "SegmentationClass" / "a.png"))
    classes[4, 4] = 3
    write_labels(folder / "SegmentationClass" / "a.png", classes)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\nc\nd\ne\n")
    return [
        ("invalid-annotation", "a.png", 1, "expected one class of 1..20"),
        ("invalid-annotation", "train.txt", None, "line 3: there is no mask"),
        ("invalid-mask-file", "", None, "expected 40 x 30 pixels"),
        ("missing-image", "train.txt", None, "line 5: there is no image"),
    ]


def break_cityscapes(folder: Path) -> list[Place]:
    annotations = folder / "gtFine" / "train" / "ulm"
    truncate(annotations / "ulm_b_gtFine_instanceIds.png")
    write_labels(annotations / "ulm_c_gtFine_instanceIds.png", np.zeros((3, 3)))
    return [
        ("invalid-mask-file", "", None, "does not decode"),
        ("missing-image", "ulm_c_gtFine_instanceIds.png", None, "there is no image"),
    ]


def break_masks(folder: Path) -> list[Place]:
    write_labels(folder / "masks" / "a" / "car" / "9.png", np.ones((3, 3)))
    Image.new("L", (40, 30)).save(folder / "masks" / "a" / "car" / "10.jpg")
    (folder / "masks" / "nothing").mkdir()
    truncate(folder / "images" / "b.png")
    return [
        ("invalid-annotation", "9.png", 2, "expected 40 x 30 pixels"),
        ("invalid-annotation", "10.jpg", None, "expected a mask as PNG or TIFF"),
        ("invalid-annotation", "nothing", None, "expected the masks of an image"),
        ("undecodable-image", "", None, "does not decode"),
    ]


BREAKERS = {
    "via": break_via,
    "labelme": break_labelme,
    "yolo": break_yolo,
    "voc": break_voc,
    "cityscapes": break_cityscapes,
    "masks": break_masks,
}


def is_at(problem: Problem, place: Place) -> bool:
    kind, file, number, text = place
    return (problem.kind.name, problem.annotation) == (kind, number) and text in problem.text and file in problem.file


@pytest.mark.parametrize("name", BREAKERS)
def test_all_faults_of_a_format_are_found(name: str, tmp_path: Path) -> None:
    dataset = WRITERS[name](tmp_path / "data")
    places = BREAKERS[name](tmp_path / "data")
    splits = examine(dataset, DoctorConfig())
    problems = problems_of(splits)
    for place in places:
        assert [problem for problem in problems if is_at(problem, place)], (place, [str(p) for p in problems])
    severe = [problem for problem in problems if problem.kind.severity == "error" or problem.kind.name == "empty-mask"]
    assert len(severe) == len(places), [str(problem) for problem in severe]

    [file] = write_repaired(splits, tmp_path / "repaired")
    data = open_dataset(file, file.with_suffix(""))
    assert sum(len(data[index]) for index in range(len(data))) > 0
    left = problems_of(examine(file, DoctorConfig(images=file.with_suffix(""))))
    assert not [str(problem) for problem in left if problem.kind.severity == "error"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_repaired_sound_data_set_is_the_same(name: str, tmp_path: Path) -> None:
    dataset = WRITERS[name](tmp_path / "data")
    splits = examine(dataset, DoctorConfig())
    assert {problem.kind.severity for problem in problems_of(splits)} <= {"note", "warning"}
    [file] = write_repaired(splits, tmp_path / "repaired", link=True)
    original, repaired = open_dataset(dataset, split="train"), open_dataset(file, file.with_suffix(""))
    assert repaired.class_names == original.class_names
    for own, other in zip(original, repaired, strict=True):
        assert own.path.name == other.path.name
        assert own.labels.tolist() == other.labels.tolist()
        assert own.boxes.tolist() == other.boxes.tolist()
        assert own.areas.tolist() == other.areas.tolist()
        assert own.masks.to_bitmaps().equal(other.masks.to_bitmaps())
        assert own.image.equal(other.image)


def test_classes_of_yolo_that_are_all_one_too_high(tmp_path: Path) -> None:
    dataset = WRITERS["yolo"](tmp_path / "data")
    for labels in (tmp_path / "data" / "labels" / "train").iterdir():
        lines = [line.split(" ", 1) for line in labels.read_text().splitlines()]
        labels.write_text("\n".join(f"{int(label) + 1} {outline}" for label, outline in lines))
    splits = examine(dataset, DoctorConfig())
    found = [problem for problem in problems_of(splits) if problem.kind.severity == "error"]
    assert {(problem.kind.name, Path(problem.file).name, problem.annotation) for problem in found} == {
        ("label-off-by-one", "a.txt", 2),
        ("label-off-by-one", "b.txt", 1),
    }
    assert "all classes seem off by +1" in found[0].text
    [file] = write_repaired(splits, tmp_path / "repaired")
    data = open_dataset(file, file.with_suffix(""))
    assert [[data.class_names[label] for label in sample.labels] for sample in data] == [
        ["car", "person", "car"],
        ["person"],
    ]


def test_a_split_may_leak_into_another_of_the_same_path(tmp_path: Path) -> None:
    dataset = WRITERS["yolo"](tmp_path / "data")  # whose val is its train
    problems = problems_of(examine(dataset, DoctorConfig(val=dataset)))
    assert [Path(problem.image).name for problem in problems if problem.kind.name == "leakage"] == ["a.png", "b.png"]


def test_nothing_left_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"shapes": [{"label": "x", "points": []}], "imagePath": "a.png"}')
    write_image(tmp_path / "a.png")
    with pytest.raises(
        ValueError, match=r"expected at least one shape; got none; 1 mistakes before: .*a\.json: shape 0"
    ):
        examine(tmp_path, DoctorConfig())
