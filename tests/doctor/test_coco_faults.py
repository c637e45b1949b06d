"""Every fault of a COCO file: planted, found with file and annotation id, and gone from the repaired copy."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from fastmrcnn.data import open_dataset
from fastmrcnn.doctor import DoctorConfig, examine, measure, problems_of, write_page, write_repaired
from fastmrcnn.doctor.problem import KEPT
from fastmrcnn.errors import UserError
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.start import open_datasets
from tests.doctor.coco_faults import FAULTS
from tests.doctor.patients import Document, Plant, diagnose, rectangle, write_patient
from tests.doctor.plants import of, removed, sides_exchanged, turned_by_exif


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
        data, _ = open_datasets(TrainConfig(tmp_path / "train.json", tmp_path / "train images"))
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


def test_a_missing_image_does_not_take_the_file_of_another(tmp_path: Path) -> None:
    def plant(document: Document, images: Path) -> None:
        for number, folder in ((2, "left"), (3, "right")):
            (images / folder).mkdir()
            (images / f"{number}.png").rename(images / folder / "0.png")
            document["images"][number - 1]["file_name"] = f"{folder}/0.png"
        (images / "left" / "0.png").unlink()

    splits, problems = diagnose(tmp_path, plant)
    [missing] = [problem for problem in problems if problem.kind.name == "missing-image"]
    assert (missing.image, missing.repair) == ("left/0.png", "left out")
    assert "has that name" not in missing.text
    [file] = write_repaired(splits, tmp_path / "repaired")
    assert [image["id"] for image in json.loads(file.read_text())["images"]] == [1, 3, 4]


@pytest.mark.parametrize(
    ("listed", "file"),
    [
        ("file%20a.png", "file a.png"),
        ("/data/?d=deep%2Fb.png", "b.png"),
        ("bu\u0308ro.png", "b\u00fcro.png"),
        ("C:\\photos\\2.png", "2.PNG"),
    ],
)
def test_a_name_in_another_spelling_is_mended(listed: str, file: str, tmp_path: Path) -> None:
    def plant(document: Document, images: Path) -> None:
        (images / "2.png").rename(images / file)
        document["images"][1]["file_name"] = listed

    splits, _ = diagnose(tmp_path, plant)
    [repaired] = write_repaired(splits, tmp_path / "repaired")
    assert json.loads(repaired.read_text())["images"][1]["file_name"] == file


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
