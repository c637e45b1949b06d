"""Every fault of a COCO file: planted, found with file and annotation id, and gone from the repaired copy."""

from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fastmrcnn.data import open_dataset
from fastmrcnn.doctor import DoctorConfig, examine, measure, problems_of, write_page, write_repaired
from fastmrcnn.doctor.problem import KEPT
from fastmrcnn.errors import UserError
from tests.doctor.patients import HEIGHT, WIDTH, Document, Plant, diagnose, rectangle, write_image, write_patient


def of(number: int, **values: Any) -> Plant:
    """Set values of the annotation with an id."""

    def plant(document: Document, images: Path) -> None:
        document["annotations"][number - 1] |= values

    return plant


def without(number: int, key: str) -> Plant:
    def plant(document: Document, images: Path) -> None:
        del document["annotations"][number - 1][key]

    return plant


def image(number: int, **values: Any) -> Plant:
    def plant(document: Document, images: Path) -> None:
        document["images"][number - 1] |= values

    return plant


def appended(key: str, entry: Any) -> Plant:
    def plant(document: Document, images: Path) -> None:
        document[key].append(entry)

    return plant


def copied(number: int, **values: Any) -> Plant:
    """An annotation once more, with other values."""

    def plant(document: Document, images: Path) -> None:
        document["annotations"].append(document["annotations"][number - 1] | values)

    return plant


def damaged(document: Document, images: Path) -> None:
    content = (images / "2.png").read_bytes()
    (images / "2.png").write_bytes(content[: len(content) // 2])


def not_an_image(document: Document, images: Path) -> None:
    (images / "2.png").write_text("no image")


def removed(document: Document, images: Path) -> None:
    (images / "2.png").unlink()


def moved(document: Document, images: Path) -> None:
    (images / "deep").mkdir()
    (images / "2.png").rename(images / "deep" / "2.PNG")


def other_size(document: Document, images: Path) -> None:
    write_image(images / "2.png", 2, WIDTH, HEIGHT)  # on its side


def sides_exchanged(document: Document, images: Path) -> None:
    document["images"][1] |= {"height": WIDTH, "width": HEIGHT}  # one of its objects reaches to x = 39


def turned_by_exif(document: Document, images: Path) -> None:
    """The pixels are stored as the annotations have them; the orientation says to turn them."""
    picture = Image.open(images / "2.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(images / "2.png", exif=exif)


def ids_from_zero(document: Document, images: Path) -> None:
    for annotation in document["annotations"]:
        annotation["category_id"] -= 1


def ids_too_high(document: Document, images: Path) -> None:
    for annotation in document["annotations"]:
        annotation["category_id"] += 1


def fractions(document: Document, images: Path) -> None:
    for annotation in document["annotations"]:
        if isinstance(annotation["segmentation"], list):
            sides = [WIDTH, HEIGHT] * 4
            annotation["segmentation"] = [
                [value / side for value, side in zip(annotation["segmentation"][0], sides, strict=True)]
            ]
            annotation["bbox"] = [
                value / side for value, side in zip(annotation["bbox"], [WIDTH, HEIGHT] * 2, strict=True)
            ]


def one_crowd_too_many(document: Document, images: Path) -> None:
    for annotation in document["annotations"]:
        annotation["iscrowd"] = 1


def twins(document: Document, images: Path) -> None:
    shutil.copyfile(images / "1.png", images / "3.png")


def unlisted(document: Document, images: Path) -> None:
    write_image(images / "9.png", 9)


def without_ids(document: Document, images: Path) -> None:
    del document["annotations"][4:6]


def image_alone(document: Document, images: Path) -> None:
    document["annotations"] = [item for item in document["annotations"] if item["image_id"] != 3]


def class_alone(document: Document, images: Path) -> None:
    document["categories"].append({"id": 3, "name": "tree"})


BOWTIE = [[2, 3, 12, 15, 12, 3, 2, 15]]
RLE = {"size": [HEIGHT, WIDTH], "counts": [1000, 60, 140]}

# Fault -> how it is planted, the kind, the annotation or None, the image, part of the text.
FAULTS: dict[str, tuple[Plant, str, int | None, str, str]] = {
    "box of zero width": (of(5, bbox=[2, 3, 0, 6]), "zero-area-box", 5, "2.png", "a width of 0 and a height of 6"),
    "box of negative height": (of(5, bbox=[2, 9, 10, -6]), "zero-area-box", 5, "2.png", "height of -6"),
    "box beyond the image": (of(7, bbox=[30, 2, 15, 4]), "box-out-of-image", 7, "2.png", "beyond the 40 x 30 pixels"),
    "box off the image": (of(7, bbox=[500, 2, 9, 4]), "box-out-of-image", 7, "2.png", "[500, 2, 9, 4] (x, y, width"),
    "box far off": (of(7, bbox=[5, 20, 9, 4]), "box-off-mask", 7, "2.png", "is not that of the mask, [30, 2, 9, 4]"),
    "corners for a box": (of(6, bbox=[20, 10, 25, 29]), "box-off-mask", 6, "2.png", "fit as x1, y1, x2, y2"),
    "three numbers for a box": (of(5, bbox=[1, 2, 3]), "invalid-box", 5, "2.png", "must be four finite numbers"),
    "NaN in a box": (of(5, bbox=[1, 2, 3, math.nan]), "invalid-box", 5, "2.png", "must be four finite numbers"),
    "outline off the image": (of(5, segmentation=rectangle(50, 3, 60, 9)), "empty-mask", 5, "2.png", "off the image"),
    "outline without area": (
        of(5, segmentation=[[3, 3, 3, 3, 3, 3]], bbox=None),
        "empty-mask",
        5,
        "2.png",
        "has no pixel",
    ),
    "outline beyond the image": (
        of(7, segmentation=rectangle(30, 2, 45, 6)),
        "outline-out-of-image",
        7,
        "2.png",
        "5 pixels beyond",
    ),
    "two points": (of(5, segmentation=[[1, 2, 3, 4]]), "invalid-polygon", 5, "2.png", "at least 3 points"),
    "one point": (of(8, segmentation=[[5, 15]]), "invalid-polygon", 8, "2.png", "got 2 numbers"),
    "odd coordinates": (of(5, segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "invalid-polygon", 5, "2.png", "7 numbers"),
    "NaN in a polygon": (
        of(5, segmentation=[[1, 2, 3, 4, 5, math.nan]]),
        "invalid-polygon",
        5,
        "2.png",
        "to be numbers",
    ),
    "text in a polygon": (of(5, segmentation=[["1", 2, 3, 4, 5, 6]]), "invalid-polygon", 5, "2.png", "to be numbers"),
    "a polygon of several": (
        of(5, segmentation=[*rectangle(2, 3, 12, 9), [1, 2]]),
        "invalid-polygon",
        5,
        "2.png",
        "got 2 numbers",
    ),
    "a polygon without its list": (
        of(5, segmentation=rectangle(2, 3, 12, 9)[0]),
        "invalid-polygon",
        5,
        "2.png",
        "polygons as lists of numbers",
    ),
    "crossing outline": (of(5, segmentation=BOWTIE, bbox=None), "crossing-polygon", 5, "2.png", "crosses itself"),
    "no segmentation": (without(5, "segmentation"), "missing-segmentation", 5, "2.png", "the key 'segmentation'"),
    "empty segmentation": (of(5, segmentation=[]), "missing-segmentation", 5, "2.png", "got []"),
    "counts too short": (
        of(5, segmentation=RLE | {"counts": [100, 5]}, bbox=None),
        "invalid-rle",
        5,
        "2.png",
        "in all; got 105",
    ),
    "counts too long": (of(5, segmentation=RLE | {"counts": [1300]}), "invalid-rle", 5, "2.png", "got 1300"),
    "negative count": (of(5, segmentation=RLE | {"counts": [-1, 1201]}), "invalid-rle", 5, "2.png", "non-negative"),
    "damaged string": (of(5, segmentation=RLE | {"counts": "0é"}), "invalid-rle", 5, "2.png", "counts are damaged"),
    "sides of the RLE swapped": (
        of(5, segmentation=RLE | {"size": [WIDTH, HEIGHT]}),
        "invalid-rle",
        5,
        "2.png",
        "size [30, 40] (height, width)",
    ),
    "missing image": (removed, "missing-image", None, "2.png", "there is no file"),
    "image elsewhere": (moved, "missing-image", None, "2.png", "deep/2.PNG has that name"),
    "image of zeros": (not_an_image, "undecodable-image", None, "2.png", "in no image format"),
    "half an image": (damaged, "undecodable-image", None, "2.png", "does not decode"),
    "image on its side": (other_size, "wrong-image-size", None, "2.png", "the file has 30 x 40 (swapped"),
    "sides exchanged": (sides_exchanged, "wrong-image-size", None, "2.png", "the file has 40 x 30 (swapped"),
    "turned by its EXIF orientation": (turned_by_exif, "wrong-image-size", None, "2.png", "the file has 30 x 40"),
    "size left out": (image(2, height=0), "invalid-image", None, "2.png", "height and width of at least 1"),
    "image id of text": (image(4, id="4"), "invalid-image", None, "", "id must be an integer"),
    "image id twice": (
        appended("images", {"id": 2, "file_name": "5.png", "height": 30, "width": 40}),
        "duplicate-image-id",
        None,
        "5.png",
        "image id 2 is that of '2.png'",
    ),
    "image file twice": (
        appended("images", {"id": 12, "file_name": "2.png", "height": 30, "width": 40}),
        "duplicate-file-name",
        None,
        "2.png",
        "image 2 and image 12",
    ),
    "annotation id twice": (
        copied(5, image_id=3, segmentation=rectangle(1, 1, 5, 9), bbox=None, area=32),
        "duplicate-annotation-id",
        5,
        "",
        "appears twice, here at position 17",
    ),
    "annotation twice": (copied(5), "duplicate-annotation-id", 5, "", "with the same content"),
    "annotation id of text": (of(5, id="x"), "invalid-annotation", None, "", "position 4: id must be an integer"),
    "object twice": (copied(5, id=50), "duplicate-object", 50, "2.png", "annotation 5 is the same"),
    "image_id of nothing": (of(5, image_id=77), "unknown-image", 5, "", "image_id 77 is not among"),
    "no image_id": (without(5, "image_id"), "invalid-annotation", 5, "", "image_id"),
    "category of nothing": (of(5, category_id=9), "unknown-category", 5, "2.png", "category_id 9 is not among"),
    "categories from zero": (ids_from_zero, "label-off-by-one", 1, "1.png", "where categories are 1..2"),
    "categories too high": (ids_too_high, "label-off-by-one", 2, "1.png", "all ids seem off by +1"),
    "crowd of true": (of(5, iscrowd=2), "invalid-annotation", 5, "2.png", "iscrowd must be 0 or 1; got 2"),
    "negative area": (of(5, area=-1), "invalid-annotation", 5, "2.png", "area must be a finite number"),
    "other area": (of(5, area=600), "area-off-mask", 5, "2.png", "area 600 is not that of the mask, 60 pixels"),
    "crowd as a polygon": (of(5, iscrowd=1), "crowd-polygon", 5, "2.png", "iscrowd is 1 and the mask a polygon"),
    "crowds alone": (one_crowd_too_many, "many-crowds", None, "", "17 of 17 annotations have iscrowd 1"),
    "fractions": (fractions, "fractions-of-the-image", 1, "1.png", "all lie within 0..1"),
    "category twice": (
        appended("categories", {"id": 7, "name": "car"}),
        "duplicate-category",
        None,
        "",
        "has the ids 1 and 7",
    ),
    "category id twice": (
        appended("categories", {"id": 1, "name": "van"}),
        "duplicate-category",
        None,
        "",
        "'car' and of 'van'",
    ),
    "category without name": (appended("categories", {"id": 3}), "invalid-category", None, "", "the key 'name'"),
    "category of the background": (
        appended("categories", {"id": 0, "name": "_background_"}),
        "background-class",
        None,
        "",
        "a class of its own",
    ),
    "category by another case": (
        appended("categories", {"id": 3, "name": "Car "}),
        "similar-class-names",
        None,
        "",
        "'car' and 'Car '",
    ),
    "class without objects": (class_alone, "class-without-objects", None, "", "category 3 'tree' has no object"),
    "gap of categories": (
        appended("categories", {"id": 4, "name": "tree"}),
        "id-gap",
        None,
        "",
        "category ids 1..4 leave out 1: 3",
    ),
    "gap of annotations": (without_ids, "id-gap", None, "", "annotation ids 1..17 leave out 2: 5, 6"),
    "image without objects": (image_alone, "image-without-objects", None, "3.png", "image 3 has no object"),
    "unlisted image": (unlisted, "unlisted-image", None, "9.png", "no annotation speaks"),
    "image twice": (twins, "duplicate-image", None, "3.png", "is the same file as image 1 (1.png)"),
    "rare class": (lambda document, images: None, "rare-class", None, "", "category 1 'car' has 8 objects"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_found(fault: str, tmp_path: Path) -> None:
    plant, kind, annotation, image_name, text = FAULTS[fault]
    _, problems = diagnose(tmp_path, plant)
    found = [problem for problem in problems if problem.kind.name == kind]
    assert found, [str(problem) for problem in problems]
    first = found[0]
    assert first.annotation == annotation
    assert Path(first.image).name == image_name
    assert first.file == str(tmp_path / "train.json")
    assert text in first.text
    assert str(annotation or "") in str(first)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_repaired_copy_is_sound(fault: str, tmp_path: Path) -> None:
    plant, *_ = FAULTS[fault]
    splits, problems = diagnose(tmp_path, plant)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    [file] = write_repaired(splits, tmp_path / "repaired")
    assert {path: path.read_bytes() for path in before} == before
    data = open_dataset(file, tmp_path / "repaired" / "train")
    assert sum(len(data[index]) for index in range(len(data))) > 0
    left = problems_of(examine(file, DoctorConfig(images=tmp_path / "repaired" / "train")))
    assert not [str(problem) for problem in left if problem.kind.severity == "error"]
    mended = {problem.kind.name for problem in problems if problem.repair != KEPT}
    assert not mended & {problem.kind.name for problem in left}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_is_what_training_refuses(fault: str, tmp_path: Path) -> None:
    plant, *_ = FAULTS[fault]
    _, problems = diagnose(tmp_path, plant)
    try:
        data = open_dataset(tmp_path / "train.json", tmp_path / "train images")
        for index in range(len(data)):
            data[index]
        refused = False
    except UserError:
        refused = True
    assert refused == any(problem.kind.severity == "error" for problem in problems)


def test_a_sound_data_set_has_no_problem(tmp_path: Path) -> None:
    [split], problems = diagnose(tmp_path)
    assert {problem.kind.name for problem in problems} == {"rare-class"}
    assert [len(image.measured.objects) for image in split.images] == [5, 4, 4, 4]


def test_many_faults_at_once_are_all_found(tmp_path: Path) -> None:
    def plant(document: Document, images: Path) -> None:
        of(1, segmentation=[[1, 2]])(document, images)
        of(2, bbox=[20, 10, 0, 0])(document, images)
        of(6, category_id=99)(document, images)
        of(13, image_id=99)(document, images)
        removed(document, images)

    _, problems = diagnose(tmp_path, plant)
    found = {(problem.kind.name, problem.annotation) for problem in problems}
    assert found >= {
        ("invalid-polygon", 1),
        ("zero-area-box", 2),
        ("unknown-category", 6),
        ("unknown-image", 13),
        ("missing-image", None),
    }


def test_what_is_no_coco_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_patient(tmp_path, lambda document, images: document.pop("categories"))
    with pytest.raises(UserError, match="expected a COCO object with a list 'categories'; got no such list"):
        examine(path, DoctorConfig())
    path = write_patient(tmp_path / "b", lambda document, images: document["images"].clear())
    with pytest.raises(UserError, match="expected at least one image"):
        examine(path, DoctorConfig())


def test_the_contour_of_one_pixel_is_mended(tmp_path: Path) -> None:
    splits, _ = diagnose(tmp_path, of(8, segmentation=[[5, 15]]))
    [file] = write_repaired(splits, tmp_path / "repaired")
    mended = json.loads(file.read_text())["annotations"][7]
    assert (mended["id"], mended["segmentation"]) == (8, rectangle(5, 15, 6, 16))


@pytest.mark.parametrize("plant", [sides_exchanged, turned_by_exif])
def test_objects_tell_which_size_is_right(plant: Plant, tmp_path: Path) -> None:
    sound = open_dataset(write_patient(tmp_path / "sound"), tmp_path / "sound" / "train images")[1]
    splits, problems = diagnose(tmp_path, plant)
    assert len([problem for problem in problems if problem.kind.severity != "note"]) == 1
    write_page(tmp_path / "page.html", splits, [measure(splits[0].content, splits[0].images)], None, "", repairs=True)
    [file] = write_repaired(splits, tmp_path / "repaired")
    mended = open_dataset(file, file.with_suffix(""))[1]
    assert mended.image.equal(sound.image)
    assert mended.boxes.tolist() == sound.boxes.tolist()


def test_what_training_does_not_read_is_kept(tmp_path: Path) -> None:
    splits, _ = diagnose(tmp_path, of(5, bbox=[1, 2, 0, 0], colour="red"))
    before = copy.deepcopy(splits[0].entries.document)  # type: ignore[union-attr]
    [file] = write_repaired(splits, tmp_path / "repaired")
    after = json.loads(file.read_text())
    assert after["info"] == before["info"]
    assert after["images"] == before["images"]
    assert after["categories"] == before["categories"]
    changed = [own for own, old in zip(after["annotations"], before["annotations"], strict=True) if own != old]
    assert [item["id"] for item in changed] == [5, 17]  # the crowd had neither box nor area
    assert changed[0]["bbox"] == [2, 3, 10, 6]
    assert changed[0]["colour"] == "red"
