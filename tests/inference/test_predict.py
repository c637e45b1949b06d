"""Prediction over files: streaming, names, ids, and nothing half-written."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.errors import UserError
from fastmrcnn.inference import PredictConfig, predict_files
from fastmrcnn.inference.config import OutputKind
from fastmrcnn.inference.staging import remove_earlier_results
from fastmrcnn.weights import load_model
from tests.inference.traced import least_peak


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten image files of different sizes, ``1.jpg`` to ``10.jpg``."""
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0)
    for number in range(1, 11):
        size = (40 + number, 64, 3)
        Image.fromarray(pixels.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{number}.jpg")
    return folder


def config_for(photos: Path, weights_file: str, **changes: Any) -> PredictConfig:
    defaults: dict[str, Any] = {
        "images": (str(photos),),
        "weights": weights_file,
        "output": photos.parent / "found",
        "score_threshold": 0.05,
        "device": "cpu",
    }
    return PredictConfig(**(defaults | changes))


def test_a_folder(photos: Path, weights: str) -> None:
    summary = predict_files(config_for(photos, weights, batch_size=3), progress=False)
    found = photos.parent / "found"
    assert (summary.images, summary.broken, summary.output) == (10, [], found)
    assert sorted(path.name for path in found.iterdir()) == [
        "images.json",
        "overlays",
        "predict.json",
        "predictions.json",
    ]
    listed = json.loads((found / "images.json").read_text())
    assert [entry["id"] for entry in listed["images"]] == list(range(1, 11))
    assert [Path(entry["file_name"]).name for entry in listed["images"]] == [f"{number}.jpg" for number in range(1, 11)]
    assert [(entry["height"], entry["width"]) for entry in listed["images"]] == [(40 + n, 64) for n in range(1, 11)]
    assert listed["categories"] == [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}]
    for number in range(1, 11):
        with Image.open(found / "overlays" / f"{number}.jpg") as overlay:
            assert overlay.size == (64, 40 + number)
    results = json.loads((found / "predictions.json").read_text())
    assert len(results) == summary.detections > 0
    assert {result["category_id"] for result in results} <= {3, 7}
    for result in results:
        assert result["segmentation"]["size"] == [40 + result["image_id"], 64]
        assert result["score"] >= 0.05


def test_threads_change_nothing_but_speed(tmp_path: Path) -> None:
    write_dataset(tmp_path / "scenes", images=3, seed=3, size=(96, 128))
    photos, found = tmp_path / "scenes" / "images", tmp_path / "scenes" / "found"
    trees = []
    of_images = tuple(kind for kind in get_args(OutputKind) if kind != "video")
    for readers in (0, 3):
        config = config_for(photos, "tiny", save=of_images, readers=readers, batch_size=2)
        predict_files(config, progress=False)
        trees.append({path.relative_to(found): path.read_bytes() for path in found.rglob("*.*") if path.is_file()})
    assert trees[0] == trees[1]
    assert {path.parts[0] for path in trees[0]} >= {"overlays", "crops", "geojson", "labelme", "yolo", "labels"}
    # Nothing is left of all that when less is asked for.
    predict_files(config_for(photos, "tiny", save=("csv",)), progress=False)
    assert sorted(path.name for path in found.iterdir()) == ["instances.csv", "predict.json"]


@pytest.mark.parametrize("images", [2, 10])
def test_a_disk_that_fills_up_behind_the_network_ends_the_run(
    images: int, photos: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Image.Image, path: Path, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    sources = tuple(str(photos / f"{number}.jpg") for number in range(1, images + 1))
    with pytest.raises(UserError, match="found: cannot be written: No space left on device"):
        predict_files(config_for(photos, weights, images=sources, readers=2), progress=False)
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos"]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("write_results")]


def test_batches_change_nothing_but_speed(photos: Path, weights: str) -> None:
    documents = []
    for name, size in (("one", 1), ("all", 10)):
        config = config_for(photos, weights, output=photos.parent / name, batch_size=size, save=("coco",))
        predict_files(config, progress=False)
        documents.append(json.loads((photos.parent / name / "predictions.json").read_text()))
        assert not (photos.parent / name / "overlays").exists()
    assert [result["image_id"] for result in documents[0]] == sorted(result["image_id"] for result in documents[0])
    assert {result["image_id"] for result in documents[0]} == {result["image_id"] for result in documents[1]}


def test_equal_names_from_different_folders(photos: Path, weights: str) -> None:
    other = photos / "other"
    other.mkdir()
    (photos / "1.jpg").rename(other / "2.jpg")
    predict_files(config_for(photos, weights, images=(str(photos / "2.jpg"), str(other))), progress=False)
    assert sorted(path.name for path in (photos.parent / "found" / "overlays").iterdir()) == ["2-2.jpg", "2.jpg"]


def test_ids_from_annotations(photos: Path, weights: str) -> None:
    annotations = photos.parent / "a.json"
    images = [{"id": 100 + n, "file_name": f"photos/{n}.jpg", "height": 40 + n, "width": 64} for n in range(1, 11)]
    annotations.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    config = config_for(photos, weights, annotations=annotations, save=("coco",))
    predict_files(config, progress=False)
    found = photos.parent / "found"
    assert {result["image_id"] for result in json.loads((found / "predictions.json").read_text())} <= set(
        range(101, 111)
    )
    assert not (found / "images.json").exists()
    Image.new("RGB", (32, 32)).save(photos / "stranger.png")
    with pytest.raises(UserError, match=r"stranger\.png: expected an image that .*a\.json lists"):
        predict_files(config, progress=False)


def coco_file(folder: Path, file_names: list[str], categories: dict[str, int]) -> Path:
    """Annotations without objects; image ids count from 100."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(file_names, 100)]
    document = {"images": images, "categories": [{"id": i, "name": name} for name, i in categories.items()]}
    (folder / "a.json").write_text(json.dumps(document))
    return folder / "a.json"


def test_categories_from_annotations_are_matched_by_name(photos: Path, weights: str) -> None:
    source = str(photos / "1.jpg")
    annotations = coco_file(photos.parent, ["1.jpg"], {"b": 1, "c": 7})
    summary = predict_files(config_for(photos, weights, images=(source,), annotations=annotations), progress=False)
    results = json.loads((photos.parent / "found" / "predictions.json").read_text())
    assert {result["category_id"] for result in results} == {1}  # the random model finds "b" only
    assert len(results) == summary.detections > 0
    coco_file(photos.parent, ["1.jpg"], {"a": 1})
    predict_files(config_for(photos, weights, images=(source,), annotations=annotations), progress=False)
    assert (
        json.loads((photos.parent / "found" / "predictions.json").read_text()) == []
    )  # "b" is no category of the file
    annotations = coco_file(photos.parent, ["1.jpg"], {"cat": 1})
    with pytest.raises(UserError, match=r"a.json: expected a category that the model knows \(a, b\); got cat"):
        predict_files(config_for(photos, weights, images=(source,), annotations=annotations), progress=False)


def test_file_names_that_do_not_tell_images_apart(photos: Path, weights: str) -> None:
    annotations = coco_file(photos.parent, ["day/1.jpg", "night/1.jpg"], {})
    with pytest.raises(UserError, match=r"1.jpg: expected one image of that name in .*a.json; it lists 2"):
        predict_files(config_for(photos / "1.jpg", weights, annotations=annotations), progress=False)
    (photos / "other").mkdir()
    (photos / "2.jpg").rename(photos / "other" / "1.jpg")
    annotations = coco_file(photos.parent, ["1.jpg"], {})
    both = (str(photos / "1.jpg"), str(photos / "other"))
    with pytest.raises(UserError, match=r"other/1.jpg: is image 100 of .*a.json, and so is .*photos/1.jpg"):
        predict_files(config_for(photos, weights, images=both, annotations=annotations), progress=False)


def test_an_earlier_run_in_the_same_folder_is_replaced(photos: Path, weights: str) -> None:
    predict_files(config_for(photos, weights), progress=False)
    annotations = coco_file(photos.parent, ["3.jpg"], {})
    summary = predict_files(config_for(photos / "3.jpg", weights, annotations=annotations), progress=False)
    assert sorted(path.name for path in summary.output.iterdir()) == ["overlays", "predict.json", "predictions.json"]
    assert [path.name for path in (summary.output / "overlays").iterdir()] == ["3.jpg"]


def test_many_earlier_results_are_removed_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at all that are left after each."""
    for number in range(200):
        (tmp_path / "crops" / str(number)).mkdir(parents=True)
        (tmp_path / "crops" / str(number) / "1-cat.png").touch()
    (tmp_path / "predict.json").touch()
    (tmp_path / "notes").mkdir()
    looks = 0

    def counted(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def look(folder: Any) -> Any:
            nonlocal looks
            looks += 1
            return work(folder)

        return look

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    remove_earlier_results(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    assert looks < 2 * 200


def test_a_run_without_any_result_leaves_nothing_behind(photos: Path, weights: str) -> None:
    (photos / "1.jpg").write_bytes((photos / "1.jpg").read_bytes()[:200])
    with pytest.raises(UserError, match=r"1\.jpg: expected an image file; it does not decode"):
        predict_files(config_for(photos, weights), progress=False)
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos"]


def test_a_broken_image_may_be_skipped(photos: Path, weights: str) -> None:
    (photos / "4.jpg").write_text("no image")
    summary = predict_files(config_for(photos, weights, skip_broken=True, batch_size=4), progress=False)
    assert summary.images == 9
    [line] = summary.broken
    assert line == f"{photos / '4.jpg'}: expected an image file; it is in no image format, or damaged"
    assert not (photos.parent / "found" / "overlays" / "4.jpg").exists()
    assert len(list((photos.parent / "found" / "overlays").iterdir())) == 9


def test_an_earlier_output_folder_keeps_its_other_files(photos: Path, weights: str) -> None:
    found = photos.parent / "found"
    found.mkdir()
    (found / "notes.txt").write_text("mine")
    (found / "predictions.json").write_text("old")
    (found / "overlays").mkdir()
    (found / "overlays" / "drawing.jpg").write_text("mine")
    predict_files(config_for(photos / "1.jpg", weights, output=found), progress=False)
    assert (found / "notes.txt").read_text() == (found / "overlays" / "drawing.jpg").read_text() == "mine"
    assert json.loads((found / "predictions.json").read_text())


def test_results_are_no_images_of_the_next_run(photos: Path, weights: str) -> None:
    config = config_for(photos, weights, images=(f"{photos}/**/*.jpg",), output=photos / "found", save=("overlays",))
    assert predict_files(config, progress=False).images == 10
    assert predict_files(config, progress=False).images == 10
    one = (str(photos / "found" / "overlays" / "1.jpg"),)
    message = r"1\.jpg: expected images; found results of an earlier run, which this one replaces"
    with pytest.raises(UserError, match=message):
        predict_files(config_for(photos, weights, images=one, output=photos / "found"), progress=False)
    assert predict_files(config_for(photos, weights, images=one), progress=False).images == 1


@pytest.mark.parametrize("way", ["folder", "link"])
def test_no_result_takes_the_place_of_its_source(photos: Path, weights: str, way: str) -> None:
    overlays, link = photos.rename(photos.parent / "overlays"), photos.parent / "link.jpg"
    link.symlink_to(overlays / "1.jpg")
    config = config_for(overlays if way == "folder" else link, weights, output=photos.parent, save=("overlays",))
    before = (overlays / "1.jpg").read_bytes()
    named = "overlays/1" if way == "folder" else "link"
    with pytest.raises(
        UserError, match=rf"{named}\.jpg: expected a source that no result replaces; .*overlays/\*\.jpg are"
    ):
        predict_files(config, progress=False)
    assert (overlays / "1.jpg").read_bytes() == before
    assert predict_files(dataclasses.replace(config, save=("csv", "yolo")), progress=False).images >= 1


def test_names_that_are_no_text(photos: Path, weights: str) -> None:
    odd = photos / os.fsdecode(b"\xff.jpg")
    (photos / "1.jpg").rename(odd)
    save = ("coco", "csv", "jsonl", "labelme", "yolo", "geojson")
    found = predict_files(config_for(odd, weights, save=save), progress=False).output
    assert json.loads((found / "images.json").read_text())["images"][0]["file_name"] == str(odd)
    assert "\\udcff.jpg" in (found / "instances.csv").read_text(encoding="utf-8")


def test_an_output_folder_that_is_a_volume_of_its_own(
    photos: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in containers: nothing moves into it from beside."""
    found, move = photos.parent / "found", os.replace

    def across(source: Path, target: Path) -> None:
        if (found in Path(source).parents) != (found in Path(target).parents):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        move(source, target)

    found.mkdir()
    monkeypatch.setattr(os, "replace", across)
    assert predict_files(config_for(photos, weights), progress=False).images == 10
    assert sorted(path.name for path in found.iterdir()) == [
        "images.json",
        "overlays",
        "predict.json",
        "predictions.json",
    ]
    assert sorted(path.name for path in photos.parent.iterdir()) == ["found", "photos"]


def test_every_page_of_a_tiff_is_a_picture(photos: Path, weights: str) -> None:
    pages = [Image.open(photos / f"{number}.jpg") for number in (1, 2, 3)]
    pages[0].save(photos / "scan.tif", save_all=True, append_images=pages[1:])
    sources = (str(photos / "1.jpg"), str(photos / "scan.tif"))
    summary = predict_files(config_for(photos, weights, images=sources, batch_size=2), progress=False)
    assert summary.images == 4
    names = sorted(path.name for path in (summary.output / "overlays").iterdir())
    assert names == ["1.jpg", "scan-p001.jpg", "scan-p002.jpg", "scan-p003.jpg"]
    listed = json.loads((summary.output / "images.json").read_text())["images"]
    assert [(entry["id"], entry.get("page"), entry["height"]) for entry in listed] == [
        (1, None, 41),
        (2, 1, 41),
        (3, 2, 42),
        (4, 3, 43),
    ]
    assert {Path(entry["file_name"]).name for entry in listed[1:]} == {"scan.tif"}
    results = (summary.output / "predictions.json").read_text()
    predict_files(  # what a run says of its images serves as annotations
        config_for(photos, weights, images=sources, batch_size=2, annotations=summary.output / "images.json"),
        progress=False,
    )
    assert (summary.output / "predictions.json").read_text() == results
    annotations = coco_file(photos.parent, ["1.jpg", "scan.tif"], {})
    with pytest.raises(
        UserError,
        match=r"scan\.tif, page 2: expected an image that .*a\.json lists; there is no such file_name with page",
    ):
        predict_files(config_for(photos, weights, images=sources, annotations=annotations), progress=False)


def test_a_damaged_page_is_told_of(photos: Path, weights: str) -> None:
    pages = [Image.open(photos / f"{number}.jpg") for number in (1, 2, 3, 4)]
    pages[0].save(photos / "scan.tif", save_all=True, append_images=pages[1:])
    content = (photos / "scan.tif").read_bytes()
    (photos / "scan.tif").write_bytes(content[: len(content) * 5 // 8])
    summary = predict_files(config_for(photos / "scan.tif", weights, skip_broken=True), progress=False)
    assert summary.images == 2
    assert len(summary.broken) == 2  # where the file ends within a page, nothing tells of those beyond the next
    for number, line in enumerate(summary.broken, 3):
        assert line.startswith(f"{photos / 'scan.tif'}, page {number}: expected an image file; it does not decode: ")


def test_results_come_in_the_order_of_the_images(photos: Path, weights: str) -> None:
    """Whatever batches they were found in."""
    for number in range(1, 11, 2):
        with Image.open(photos / f"{number}.jpg") as image:
            turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(photos / f"{number}.jpg")
    summary = predict_files(config_for(photos, weights, batch_size=3, save=("coco",)), progress=False)
    ids = [result["image_id"] for result in json.loads((summary.output / "predictions.json").read_text())]
    assert ids == sorted(ids)
    listed = json.loads((summary.output / "images.json").read_text())["images"]
    assert [entry["id"] for entry in listed] == list(range(1, 11))


def test_memory_does_not_grow_with_the_number_of_images(
    photos: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six times the images take little more than the text of their names."""
    model = load_model(weights)
    monkeypatch.setattr("fastmrcnn.inference.stream.load_model", lambda *_, **__: model)
    peaks = []
    for count in (10, 60):
        folder = photos.parent / f"{count}"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.jpg").hardlink_to(photos / f"{number % 10 + 1}.jpg")
        config = config_for(folder, weights, save=("coco",), score_threshold=0.9)
        predict_files(config, progress=False)  # pays for what is imported and cached
        peaks.append(least_peak(partial(predict_files, config, progress=False)))
    assert peaks[1] - peaks[0] < 50 * 2000  # bytes, most of them while the folder is listed; an image has 8000 and more


@pytest.mark.parametrize(("option", "least"), [("batch_size", 1), ("readers", 0)])
def test_numbers_that_are_too_small(option: str, least: int) -> None:
    with pytest.raises(UserError, match=f"{option} must be at least {least}; got {least - 1}"):
        PredictConfig(images=("photo.jpg",), **{option: least - 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "no.safetensors"}, "no.safetensors: "),
        ({"output": Path(__file__)}, "test_predict.py: expected a folder to write to; this is a file"),
        ({"output": Path(__file__) / "found"}, "test_predict.py: expected a folder for "),
        ({"annotations": Path("no.json")}, "no.json: expected COCO annotations; there is no such file"),
        (
            {"device": "abacus"},
            "where there is a GPU; got 'abacus': no such device",
        ),
    ],
)
def test_refusals(photos: Path, weights: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        predict_files(config_for(photos, weights, **changes), progress=False)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos"]
