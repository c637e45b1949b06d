"""``fastmrcnn doctor``: what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastmrcnn.cli import main
from fastmrcnn.doctor.images import examine_images
from fastmrcnn.doctor.problem import KINDS, Findings
from tests.doctor.patients import Document, write_patient


def bad_box(document: Document, images: Path) -> None:
    document["annotations"][4]["bbox"] = [2, 3, 0, 6]


def bad_polygon(document: Document, images: Path) -> None:
    for annotation in document["annotations"][:6]:
        annotation["segmentation"] = [[1, 2, 3, 4]]


def words(folder: Path) -> list[str]:
    return ["doctor", str(folder / "train.json"), "--images", str(folder / "train images")]


@pytest.mark.parametrize(
    ("plant", "options", "code"),
    [
        (None, [], 0),
        (None, ["--fail-on", "note"], 1),  # rare classes
        (bad_box, [], 1),
        (bad_box, ["--fail-on", "error"], 0),
        (bad_polygon, ["--fail-on", "error"], 1),
        (bad_polygon, ["--fail-on", "never"], 0),
    ],
)
def test_exit_codes(plant, options: list[str], code: int, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_patient(tmp_path, plant)
    assert main([*words(tmp_path), *options]) == code


def test_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_patient(tmp_path, bad_polygon)
    assert main([*words(tmp_path), "--shown", "2"]) == 1
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == "errors: what training or evaluation refuses"
    assert lines[1] == "  invalid-polygon (6): polygons that are none"
    place = f"{path}: annotation 1 (1.png)"
    assert lines[2] == f"    {place}: expected a polygon of at least 3 points (x, y); got 4 numbers"
    assert "    ... and 4 more\n" in printed
    assert "train: 4 images (0 without objects): 40 x 30 (4)\n" in printed
    assert "10 objects (10 polygons, 0 run lengths), crowds: 1" in printed
    assert "anchors of tiny at its image size" in printed


def test_images_in_another_folder_are_all_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_patient(tmp_path)
    assert main(["doctor", str(path), "--images", str(tmp_path / "elsewhere"), "--no-decode"]) == 1
    printed = capsys.readouterr().out
    assert "  missing-image (4): " in printed
    assert "class-without-objects" not in printed
    assert printed.endswith("train: no image that can be trained on\n")


def test_a_sound_data_set_is_said_to_be_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def many(document: Document, images: Path) -> None:
        for annotation in list(document["annotations"][:-1]):
            number = len(document["annotations"]) + 1
            outline = [[value + 1 for value in annotation["segmentation"][0]]]
            document["annotations"].append(annotation | {"id": number, "segmentation": outline, "bbox": None})

    write_patient(tmp_path, many)
    assert main(words(tmp_path)) == 0
    assert capsys.readouterr().out.startswith("no problem found\n")


def test_json_page_and_repaired_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_patient(tmp_path, bad_polygon)
    write_patient(tmp_path, name="val")  # the same images
    files = ["--json", str(tmp_path / "p.json"), "--report", str(tmp_path / "page.html")]
    val = ["--val", str(tmp_path / "val.json"), "--val-images", str(tmp_path / "val images")]
    repaired = tmp_path / "repaired"
    assert main([*words(tmp_path), *val, *files, "--fix", str(repaired)]) == 1
    printed = capsys.readouterr().out
    assert "got 4 numbers -> left out\n" in printed
    assert printed.endswith(f"nothing to train on: {repaired / 'train.json'} has no image left\n")  # all have leaked

    document = json.loads((tmp_path / "p.json").read_text())
    assert document["counts"] == {"error": 6, "warning": 4, "note": 4}
    first = document["problems"][0]
    assert first["file"] == str(tmp_path / "train.json")
    assert (first["kind"], first["severity"], first["annotation"]) == ("invalid-polygon", "error", 1)
    assert (first["image"], first["repair"]) == ("1.png", "left out")
    assert document["statistics"]["val"]["objects"] == 16
    assert 0 <= document["anchors"]["coverage"]["good"] <= 1
    assert json.loads((repaired / "repairs.json").read_text()) == document["problems"]

    page = (tmp_path / "page.html").read_text()
    for text in ("invalid-polygon", "leakage", "Anchors", "The val split", "repaired copy", "annotation 1 (1.png)"):
        assert text in page
    # Of six polygons six pictures, of four leaks two each, and the four samples of either split (all of the
    # training split have leaked: none of it is left).
    assert page.count("<img ") == 6 + 4 * 2 + 4


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_patient(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for options, expected in [
        (["--fix", str(tmp_path / "train images")], "expected a new folder for the repaired copy; it exists already"),
        (["--json", str(path)], "json: expected a file to write, which may not be the data set itself; got"),
        (["--report", str(path)], "report: expected a file to write, which may not be the data set itself; got"),
        (["--report", str(tmp_path)], f"{tmp_path}: cannot write a file here: this is a folder"),
        (["--json", str(path / "p.json")], f"{path}: expected a folder for p.json; this is a file"),
        (["--fix", str(path / "copy")], f"{path}: expected a folder for copy; this is a file"),
        (["--val-images", "x"], "val_images needs a val"),
        (["--shown", "-1"], "shown must be at least 0; got -1"),
        (["--weights", "none.safetensors"], "none.safetensors"),
        (["--val", str(tmp_path / "no.json")], "no.json: expected a file or a folder of annotations; there is none"),
    ]:
        assert main([*words(tmp_path), *options]) == 2
        captured = capsys.readouterr()
        assert expected in captured.err
        assert captured.out == ""  # said before the work
    path.write_text("{")
    before[path] = b"{"
    assert main(words(tmp_path)) == 2
    assert f"{path}: " in capsys.readouterr().err
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_anchors_at_another_image_size(tmp_path: Path) -> None:
    write_patient(tmp_path)
    shares = []
    for options in ([], ["--min-size", "100"], ["--max-size", "800"]):
        words_of_model = [*words(tmp_path), "--model", "resnet50_fpn", "--json", str(tmp_path / "p.json")]
        main([*words_of_model, *options])
        shares.append(json.loads((tmp_path / "p.json").read_text())["anchors"]["smaller"])
    assert shares == [
        0.0,
        0.25,
        0.0,
    ]  # sides of 6 to 10 and of 1 pixels, enlarged 27, 3.3 and 20 times; half of 32 is 16
    assert main([*words(tmp_path), "--weights", "tiny", "--min-size", "800", "--max-size", "400"]) == 2


def test_heads_alone(tmp_path: Path) -> None:
    def half(document: Document, images: Path) -> None:
        content = (images / "2.png").read_bytes()
        (images / "2.png").write_bytes(content[: len(content) // 2])

    write_patient(tmp_path, half)
    assert main([*words(tmp_path), "--fail-on", "error"]) == 1
    assert main([*words(tmp_path), "--fail-on", "error", "--no-decode"]) == 0


def test_any_number_of_threads_finds_the_same(tmp_path: Path) -> None:
    from fastmrcnn.data.readers import Source, read_coco

    content = read_coco(Source(write_patient(tmp_path), tmp_path / "train images"))
    results = [
        [(image.record, image.pixels, image.measured.boxes.tolist()) for image in images]
        for images in (examine_images(content, Findings("train", ""), workers=number) for number in (1, 3))
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize(("options", "links"), [([], 1), (["--fix-images", "link"], 2)])
def test_an_editor_at_work_in_the_copy_leaves_the_original(options: list[str], links: int, tmp_path: Path) -> None:
    write_patient(tmp_path)
    assert main([*words(tmp_path), "--fix", str(tmp_path / "repaired"), *options]) == 0
    original, copied = tmp_path / "train images" / "1.png", tmp_path / "repaired" / "train" / "1.png"
    assert copied.read_bytes() == original.read_bytes()
    assert copied.stat().st_nlink == links  # one name alone: what is written through it is seen through no other


def test_names_that_lead_out_of_the_folder_stay_inside_of_the_copy(tmp_path: Path) -> None:
    def outside(document: Document, images: Path) -> None:
        (images / "1.png").rename(images.parent / "1.png")
        document["images"][0]["file_name"] = "../1.png"
        (images / "2.png").rename(images.parent / "2.png")
        document["images"][1]["file_name"] = str(images.parent / "2.png")

    write_patient(tmp_path, outside)
    assert main([*words(tmp_path), "--fix", str(tmp_path / "repaired")]) == 0
    names = sorted(path.name for path in (tmp_path / "repaired" / "train").iterdir())
    assert names == ["1.png", "2.png", "3.png", "4.png"]


def test_no_image_of_the_copy_takes_the_place_of_another(tmp_path: Path) -> None:
    def clashing(document: Document, images: Path) -> None:
        (images / "3.png").rename(images / "2_1.png")
        (images / "2.png").rename(images.parent / "1.png")
        first, second, third, fourth = document["images"]
        document["images"] = [third | {"file_name": "2_1.png"}, first, second | {"file_name": "../1.png"}, fourth]

    write_patient(tmp_path, clashing)
    assert main([*words(tmp_path), "--fix", str(tmp_path / "repaired")]) == 0
    names = sorted(path.name for path in (tmp_path / "repaired" / "train").iterdir())
    assert names == ["1.png", "2_1.png", "2_2_1.png", "4.png"]


def test_the_page_of_kinds_is_complete() -> None:
    page = (Path(__file__).parents[2] / "DOCTOR.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{kind.name}` | {kind.severity} | {kind.title} |" for kind in KINDS]
    assert len({kind.name for kind in KINDS}) == len(KINDS) > 40


def test_the_repaired_copy_is_what_to_train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_patient(tmp_path)
    write_patient(tmp_path, name="val", seed=100)
    val = ["--val", str(tmp_path / "val.json"), "--val-images", str(tmp_path / "val images")]
    repaired = tmp_path / "repaired"
    assert main([*words(tmp_path), *val, "--fix", str(repaired)]) == 0
    train = f"--train-annotations {repaired / 'train.json'} --train-images {repaired / 'train'}"
    evaluation = f"--eval-annotations {repaired / 'val.json'} --eval-images {repaired / 'val'}"
    assert capsys.readouterr().out.endswith(f"next:     fastmrcnn train {train} {evaluation}\n")
