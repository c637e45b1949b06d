"""Two splits: the same images in both by bytes, by pixels and by looks, and classes that one of them lacks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastmrcnn.doctor import DoctorConfig, Problem, examine, problems_of, write_repaired
from tests.doctor.patients import Document, Plant, write_patient


def diagnose_both(folder: Path, plant_train: Plant | None = None, plant_val: Plant | None = None) -> list[Problem]:
    train = write_patient(folder, plant_train)
    val = write_patient(folder, plant_val, name="val", seed=100)
    config = DoctorConfig(images=folder / "train images", val=val, val_images=folder / "val images")
    return problems_of(examine(train, config))


def of_kind(problems: list[Problem], kind: str) -> list[Problem]:
    return [problem for problem in problems if problem.kind.name == kind]


def test_splits_without_leakage(tmp_path: Path) -> None:
    problems = diagnose_both(tmp_path)
    assert {problem.kind.name for problem in problems} == {"rare-class"}


def test_splits_that_share_a_folder_speak_of_all_its_images(tmp_path: Path) -> None:
    train, val = write_patient(tmp_path), tmp_path / "val.json"
    document = json.loads(train.read_text())
    for path, numbers in ((train, (1, 2)), (val, (3,))):
        part = {
            "images": [image for image in document["images"] if image["id"] in numbers],
            "annotations": [item for item in document["annotations"] if item["image_id"] in numbers],
        }
        path.write_text(json.dumps(document | part))
    problems = problems_of(examine(train, DoctorConfig(images=tmp_path / "train images", val=val)))
    [problem] = of_kind(problems, "unlisted-image")  # of both splits, once
    assert (problem.split, Path(problem.image).name) == ("train", "4.png")


def as_it_is(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def written_anew(source: Path, target: Path) -> None:
    Image.open(source).save(target, compress_level=1)


def brighter(source: Path, target: Path) -> None:
    pixels = np.asarray(Image.open(source)).astype(int)
    Image.fromarray((pixels + 2).clip(0, 255).astype(np.uint8)).save(target)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (as_it_is, "leakage", "image 2 is the same file as image 3 of the validation (3.png)"),
        (written_anew, "leakage", "image 2 has the same pixels as image 3 of the validation (3.png)"),
        (brighter, "near-leakage", "image 2 looks like image 3 of the validation (3.png)"),
    ],
)
def test_an_image_in_both_splits(change, kind: str, text: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def leak(document: Document, images: Path) -> None:
        change(tmp_path / "train images" / "2.png", images / "3.png")

    problems = diagnose_both(tmp_path, plant_val=leak)
    [problem] = of_kind(problems, "leakage") + of_kind(problems, "near-leakage")
    assert problem.kind.name == kind
    assert problem.text == text
    assert (problem.split, problem.image) == ("train", "2.png")
    assert problem.file == str(tmp_path / "train.json")
    assert problem.twin == str(tmp_path / "val images" / "3.png")


def test_the_repaired_training_split_has_no_image_of_the_validation(tmp_path: Path) -> None:
    def leak(document: Document, images: Path) -> None:
        shutil.copyfile(tmp_path / "train images" / "2.png", images / "3.png")

    train = write_patient(tmp_path)
    val = write_patient(tmp_path, leak, name="val", seed=100)
    config = DoctorConfig(images=tmp_path / "train images", val=val, val_images=tmp_path / "val images")
    files = write_repaired(examine(train, config), tmp_path / "repaired")
    documents = [json.loads(file.read_text()) for file in files]
    assert [[image["id"] for image in document["images"]] for document in documents] == [[1, 3, 4], [1, 2, 3, 4]]
    assert {annotation["image_id"] for annotation in documents[0]["annotations"]} == {1, 3, 4}
    config = DoctorConfig(images=files[0].with_suffix(""), val=files[1], val_images=files[1].with_suffix(""))
    assert not of_kind(problems_of(examine(files[0], config)), "leakage")


def test_flat_images_do_not_all_look_alike(tmp_path: Path) -> None:
    def flat(grey: int) -> Plant:
        def plant(document: Document, images: Path) -> None:
            for path in images.iterdir():
                Image.fromarray(np.full((30, 40, 3), grey + int(path.stem), np.uint8)).save(path)

        return plant

    assert not of_kind(diagnose_both(tmp_path, flat(100), flat(110)), "near-leakage")


def test_classes_that_one_split_lacks(tmp_path: Path) -> None:
    def no_persons(document: Document, images: Path) -> None:
        for annotation in document["annotations"]:
            annotation["category_id"] = 1

    [problem] = of_kind(diagnose_both(tmp_path / "a", plant_val=no_persons), "class-absent-from-split")
    assert problem.text == "category 2 'person' has objects in the training split and none here: its AP is undefined"
    assert (problem.split, problem.file) == ("val", str(tmp_path / "a" / "val.json"))
    [problem] = of_kind(diagnose_both(tmp_path / "b", no_persons), "class-absent-from-split")
    assert problem.text == "category 2 'person' has objects here and none in the training split"


def test_classes_of_other_names_and_ids(tmp_path: Path) -> None:
    def other(document: Document, images: Path) -> None:
        document["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "Car"}]

    problems = diagnose_both(tmp_path, plant_val=other)
    [unknown] = of_kind(problems, "unknown-class-in-split")
    assert unknown.text == "category 2 'Car' is no category of the training split (car, person); did you mean 'car'?"
    [moved] = of_kind(problems, "different-category-ids")
    assert moved.text == "category 'person' has the id 1, in the training split 2"


def test_repaired_splits_have_the_same_ids(tmp_path: Path) -> None:
    def exchanged(document: Document, images: Path) -> None:
        document["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "tree"}]

    train = write_patient(tmp_path)
    val = write_patient(tmp_path, exchanged, name="val", seed=100)
    config = DoctorConfig(images=tmp_path / "train images", val=val, val_images=tmp_path / "val images")
    files = write_repaired(examine(train, config), tmp_path / "repaired")
    document = json.loads(files[1].read_text())
    assert {entry["name"]: entry["id"] for entry in document["categories"]} == {"person": 2, "tree": 3}
    assert [entry["category_id"] for entry in document["annotations"]][:4] == [2, 3, 2, 3]
