"""Every kind of output: what is in the files, and that our own readers read the same masks from them."""

from __future__ import annotations

import csv
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastmrcnn.data.annotations import Annotations, ImageRecord
from fastmrcnn.data.readers import read_annotations
from fastmrcnn.data.readers.label_images import read_labels
from fastmrcnn.errors import UserError
from fastmrcnn.inference import PredictConfig
from fastmrcnn.inference.coco_ids import CocoIds
from fastmrcnn.inference.config import OutputKind
from fastmrcnn.inference.outputs import OUTPUTS, Run
from fastmrcnn.inference.outputs.parts import Parts
from fastmrcnn.inference.pictures import Pictures
from fastmrcnn.ops import InstanceMasks
from fastmrcnn.structures import Detections, as_image_tensor

NAMES = ("cat", "big dog/wolf")
SIZE = (30, 41)  # height, width


def shapes() -> np.ndarray:
    """A frame with an island in its hole; two parts; a disk over the frame; nothing: bool [4, H, W]."""
    y, x = np.indices(SIZE) + 0.5
    frame = (abs(x - 12) < 10) & (abs(y - 14) < 11) & ~((abs(x - 12) < 6) & (abs(y - 14) < 7))
    frame |= (abs(x - 12) < 2) & (abs(y - 14) < 2)
    parts = ((abs(x - 33) < 6) & (abs(y - 6) < 4)) | ((abs(x - 35) < 3) & (abs(y - 22) < 5))
    return np.stack([frame, parts, np.hypot(x - 20, y - 20) < 7.3, np.zeros(SIZE, dtype=bool)])


def found(bitmaps: np.ndarray | None = None) -> Detections:
    bitmaps = shapes() if bitmaps is None else bitmaps
    masks = InstanceMasks.from_bitmaps(bitmaps, *SIZE)
    return Detections(
        boxes=masks.boxes() + 0.25,
        scores=torch.tensor([0.9, 0.8, 0.95, 0.6])[: len(bitmaps)],
        labels=torch.tensor([1, 0, 0, 1])[: len(bitmaps)],
        mask_probs=None,
        mask_runs=masks,
        image_size=SIZE,
        class_names=NAMES,
        category_ids=(3, 7),
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures: ``a.png`` and ``b.jpg``."""
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(pixels).save(folder / name)
    return folder


def write(kind: OutputKind, photos: Path, results: list[Detections], **options: Any) -> Path:
    """What an output makes of the detections in the pictures: the folder of results."""
    pictures = Pictures([str(path) for path in sorted(photos.iterdir())])[: len(results)]
    folder = photos.parent / "found"
    folder.mkdir()
    config = PredictConfig(images=(str(photos),), output=folder, save=(kind,), **options)
    parts = Parts(folder, attempt=0, rank=0, window=1)
    run = Run(config, folder, CocoIds([5, 6], {"cat": 3, "big dog/wolf": 7}), NAMES, parts, results[0].has_masks)
    with closing(parts), OUTPUTS[kind](run) as output:
        for picture, detections in zip(pictures, results, strict=True):
            output.add(picture, as_image_tensor(picture.source), detections)
    output.finish()
    return folder


def masks_of(annotations: Annotations, image: ImageRecord) -> torch.Tensor:
    segmentations = [item.segmentation for item in annotations.objects[image.id]]
    return InstanceMasks.from_coco(segmentations, image.height, image.width).to_bitmaps()


@pytest.mark.parametrize("form", ["labelme", "yolo"])
def test_polygons_are_read_back_to_the_same_masks(form: Any, photos: Path) -> None:
    folder = write(form, photos, [found(), found()[1:2]])
    annotations = read_annotations(folder / form, split="train")
    assert [Path(image.file_name).stem for image in annotations.images.values()] == ["a", "b"]
    first, second = annotations.images.values()
    names = [annotations.categories[item.category_id] for item in annotations.objects[first.id]]
    assert names == ["big dog/wolf", "cat", "cat"]  # the empty mask has no outline
    assert torch.equal(masks_of(annotations, first), torch.from_numpy(shapes()[:3]))
    assert torch.equal(masks_of(annotations, second), torch.from_numpy(shapes()[1:2]))


def test_labelme_keys(photos: Path) -> None:
    folder = write("labelme", photos, [found()])
    document = json.loads((folder / "labelme" / "a.json").read_text())
    assert document["imagePath"] == "../../photos/a.png"
    assert (document["imageHeight"], document["imageWidth"], document["imageData"]) == (*SIZE, None)
    # The frame and its island are one object, and so are the two parts.
    assert [(shape["label"], shape["group_id"]) for shape in document["shapes"]] == [
        *[("big dog/wolf", 1)] * 2,
        *[("cat", 2)] * 2,
        ("cat", None),
    ]
    assert document["shapes"][0]["score"] == pytest.approx(0.9)


def test_yolo_is_a_data_set_beside_its_images(photos: Path) -> None:
    folder = write("yolo", photos, [found()[:0], found()[2:3]])
    assert (folder / "yolo" / "labels" / "a.txt").read_text() == ""
    [line] = (folder / "yolo" / "labels" / "b.txt").read_text().splitlines()
    label, *shares = line.split()
    assert label == "0"
    assert all(0 <= float(share) <= 1 for share in shares)
    assert (folder / "yolo" / "images" / "a.png").readlink() == Path("../../../photos/a.png")
    assert (folder / "yolo" / "images" / "b.jpg").resolve() == (photos / "b.jpg").resolve()


@pytest.mark.parametrize("form", ["labelme", "yolo"])
def test_pages_become_images_of_their_own(form: Any, photos: Path) -> None:
    for path in photos.iterdir():
        path.unlink()
    pages = [Image.new("L", SIZE[::-1], grey) for grey in (50, 90)]
    pages[0].save(photos / "scan.tif", save_all=True, append_images=pages[1:])
    folder = write(form, photos, [found(), found()[1:2]])
    annotations = read_annotations(folder / form, split="train")
    assert [Path(image.file_name).stem for image in annotations.images.values()] == ["scan-p001", "scan-p002"]
    for image, grey, bitmaps in zip(annotations.images.values(), (50, 90), (shapes()[:3], shapes()[1:2]), strict=True):
        with Image.open(annotations.folder / image.file_name) as page:
            assert page.getextrema() == ((grey, grey),) * 3
        assert torch.equal(masks_of(annotations, image), torch.from_numpy(bitmaps))


def test_geojson(photos: Path) -> None:
    document = json.loads((write("geojson", photos, [found()]) / "geojson" / "a.geojson").read_text())
    assert document["type"] == "FeatureCollection"
    frame, parts, disk, empty = document["features"]
    assert empty["geometry"] is None
    assert frame["geometry"]["type"] == parts["geometry"]["type"] == "MultiPolygon"
    assert [len(polygon) for polygon in frame["geometry"]["coordinates"]] == [2, 1]  # a ring with a hole; the island
    assert disk["geometry"]["type"] == "Polygon"
    for feature, bitmap in zip((frame, parts), shapes(), strict=False):
        area = sum(_area(ring) for polygon in feature["geometry"]["coordinates"] for ring in polygon)
        assert area == bitmap.sum()
    assert disk["properties"] == {
        "instance": 3,
        "class": "cat",
        "score": pytest.approx(0.95),
        "objectType": "annotation",
        "classification": {"name": "cat"},
    }


def _area(ring: list[list[float]]) -> float:
    """Of a closed ring; positive where it goes as RFC 7946 wants exteriors to."""
    assert ring[0] == ring[-1]
    x, y = np.array(ring).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def test_tolerance_leaves_out_points(photos: Path) -> None:
    folder = write("geojson", photos, [found()], tolerance=1.0)
    disk = json.loads((folder / "geojson" / "a.geojson").read_text())["features"][2]
    [ring] = disk["geometry"]["coordinates"]
    assert len(ring) < len(found().polygons()[2][0].exterior) / 2
    assert _area(ring) == pytest.approx(shapes()[2].sum(), rel=0.1)


def test_crops_are_cut_out_by_their_masks(photos: Path) -> None:
    folder = write("crops", photos, [found()])
    names = sorted(path.name for path in (folder / "crops" / "a").iterdir())
    assert names == ["1-big_dog_wolf.png", "2-cat.png", "3-cat.png"]
    pixels = np.asarray(Image.open(photos / "a.png"))
    with Image.open(folder / "crops" / "a" / "3-cat.png") as crop:
        left, top, right, bottom = found().run_lengths.boxes()[2].int().tolist()
        assert crop.mode == "RGBA"
        assert np.array_equal(np.asarray(crop)[:, :, :3], pixels[top:bottom, left:right])
        assert np.array_equal(np.asarray(crop)[:, :, 3] == 255, shapes()[2][top:bottom, left:right])


def test_label_images_are_read_back(photos: Path) -> None:
    folder = write("labels", photos, [found(), found()[:0]])
    annotations = read_annotations(folder / "labels" / "instances", photos, format="masks")
    first, second = annotations.images.values()
    frame, parts, disk, _ = torch.from_numpy(shapes())
    # The disk, which has the highest score, covers what it shares with the frame.
    assert torch.equal(masks_of(annotations, first), torch.stack([frame & ~disk, parts, disk]))
    assert len(annotations.objects[second.id]) == 0
    with Image.open(folder / "labels" / "instances" / "a.png") as image:
        assert image.mode == "I;16"
    classes = read_labels(folder / "labels" / "classes" / "a.png", first)
    assert np.array_equal(classes, (2 * (frame & ~disk) + (parts | disk)).numpy())


def test_more_instances_than_16_bits_number(photos: Path) -> None:
    many = 65536
    first = torch.tensor([[0, 1]]).repeat(many, 1)
    masks = InstanceMasks.from_bitmaps([], *SIZE)
    last = torch.tensor([5, 6])
    transitions = torch.cat([first[:-1].flatten(), last])
    masks = replace(
        masks,
        object_polygons=torch.zeros(many + 1, dtype=torch.int64),
        transitions=transitions,
        object_transitions=torch.arange(many + 1) * 2,
    )
    crowd = Detections(
        boxes=torch.zeros(many, 4),
        scores=torch.full((many,), 0.5),
        labels=torch.zeros(many, dtype=torch.int64),
        mask_probs=None,
        mask_runs=masks,
        image_size=SIZE,
        class_names=NAMES,
        category_ids=(3, 7),
    )
    folder = write("labels", photos, [crowd])
    [image, _] = read_annotations(folder / "labels" / "instances", photos, format="masks").images.values()
    labels = read_labels(folder / "labels" / "instances" / "a.tif", image)
    assert np.unique(labels).tolist() == [0, 1, many]  # of equal scores the first one is seen


def test_table(photos: Path) -> None:
    odd = photos / "z, a\n.png"
    Image.new("RGB", SIZE[::-1]).save(odd)
    folder = write("csv", photos, [found(), found()[:0], replace(found()[2:3], mask_runs=None)])
    with (folder / "instances.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["image"], row["instance"], row["class"]) for row in rows] == [
        (str(photos / "a.png"), "1", "big dog/wolf"),
        (str(photos / "a.png"), "2", "cat"),
        (str(photos / "a.png"), "3", "cat"),
        (str(photos / "a.png"), "4", "big dog/wolf"),
        (str(odd), "1", "cat"),
    ]
    for row, bitmap in zip(rows[:3], shapes(), strict=False):
        y, x = np.nonzero(bitmap)
        assert int(row["area"]) == bitmap.sum()
        assert float(row["centroid_x"]) == pytest.approx(x.mean() + 0.5, abs=1e-3)
        assert float(row["centroid_y"]) == pytest.approx(y.mean() + 0.5, abs=1e-3)
        assert float(row["x2"]) == x.max() + 1.25
    assert (rows[3]["area"], rows[3]["centroid_x"]) == ("0", "")
    assert (rows[4]["area"], rows[4]["score"]) == ("", "0.95")


def test_overlays_without_loss(photos: Path) -> None:
    folder = write("overlays", photos, [found()], overlay_format="png")
    with Image.open(folder / "overlays" / "a.png") as overlay:
        assert np.array_equal(np.asarray(overlay), np.asarray(found().plot(photos / "a.png")))


@pytest.mark.parametrize("kind", ["geojson", "labelme", "yolo", "crops"])
def test_a_model_that_finds_boxes_alone(kind: OutputKind, photos: Path) -> None:
    boxes = replace(found()[1:3], mask_runs=None, boxes=torch.tensor([[2.0, 3.0, 9.75, 11.0], [np.nan, 0.0, 5.0, 5.0]]))
    folder = write(kind, photos, [boxes])
    if kind == "geojson":
        first, second = json.loads((folder / "geojson" / "a.geojson").read_text())["features"]
        assert first["geometry"]["coordinates"] == [[[2, 3], [9.75, 3], [9.75, 11], [2, 11], [2, 3]]]
        assert second["geometry"] is None
    elif kind == "crops":
        with Image.open(folder / "crops" / "a" / "1-cat.png") as crop:
            assert (crop.size, crop.mode) == ((8, 8), "RGB")
    else:
        annotations = read_annotations(folder / kind, split="train")
        [image] = annotations.images.values() if kind == "labelme" else list(annotations.images.values())[:1]
        assert InstanceMasks.from_coco(
            [item.segmentation for item in annotations.objects[image.id]], *SIZE
        ).boxes().tolist() == [[2, 3, 10, 11]]


def test_label_images_want_masks(photos: Path) -> None:
    with pytest.raises(UserError, match="save: labels are made of masks; this model finds boxes alone"):
        write("labels", photos, [replace(found(), mask_runs=None)])


def test_a_table_of_names_with_carriage_returns(photos: Path) -> None:
    (photos / "a.png").rename(photos / "a\r.png")
    folder = write("csv", photos, [replace(found(), class_names=("cat\r", "dog\n"))])
    with (folder / "instances.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["image"] for row in rows} == {str(photos / "a\r.png")}
    assert [row["class"] for row in rows] == ["dog\n", "cat\r", "cat\r", "dog\n"]


def test_an_overlay_that_no_jpeg_can_hold_is_a_png(photos: Path) -> None:
    size = (3, 65501)
    for path in photos.iterdir():
        path.unlink()
    Image.new("RGB", size[::-1]).save(photos / "a.png")
    masks = InstanceMasks.from_bitmaps(np.ones((1, *size), dtype=bool), *size)
    line = replace(found(shapes()[:1]), mask_runs=masks, image_size=size)
    folder = write("overlays", photos, [line])
    assert [path.name for path in (folder / "overlays").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"save": ("coco", "svg")},
            "save must name kinds of output (coco, overlays, csv, crops, geojson, labelme, yolo, labels, jsonl, video)"
            "; got svg",
        ),
        ({"overlay_format": "gif"}, "overlay_format must be jpg or png; got gif"),
        ({"tolerance": -1.0}, "tolerance must be at least 0 pixels; got -1.0"),
        ({"tolerance": float("nan")}, "tolerance must be at least 0 pixels; got nan"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        PredictConfig(images=("photos",), **options)
    assert message in str(caught.value)
