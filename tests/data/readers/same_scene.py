"""One small data set, written in every format that is read."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 30, 40
# Image name -> its objects: class, left, top, right, bottom; they do not overlap.
OBJECTS = {
    "a": [("car", 2, 3, 12, 9), ("person", 20, 10, 25, 29), ("car", 30, 0, 40, 4)],
    "b": [("person", 5, 5, 6, 6)],
}


def write_image(path: Path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """An image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_labels(path: Path, labels: np.ndarray) -> Path:
    """A PNG of 8 or 16 bits, whichever holds the numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint8 if labels.max() < 256 else np.uint16)).save(path)
    return path


def write_json(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def corners(box: tuple[int, ...]) -> list[float]:
    """The polygon of a box."""
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def bitmap(box: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def numbered(objects: list[Any], values: list[int]) -> np.ndarray:
    """An image with a number in the pixels of each object."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    for (_, *box), value in zip(objects, values, strict=True):
        labels[bitmap(tuple(box))] = value
    return labels


def png_in_base64(mask: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def write_coco(folder: Path) -> Path:
    images = [{"id": n, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH} for n, name in enumerate(OBJECTS)]
    annotations: list[dict[str, Any]] = []
    for number, objects in enumerate(OBJECTS.values()):
        for label, *box in objects:
            shape = {"category_id": ["car", "person"].index(label), "segmentation": [corners(tuple(box))]}
            annotations.append({"id": len(annotations), "image_id": number, **shape})
    for name in OBJECTS:
        write_image(folder / f"{name}.png")
    categories = [{"id": 0, "name": "car"}, {"id": 1, "name": "person"}]
    return write_json(
        folder / "coco.json", {"images": images, "annotations": annotations, "categories": categories, "info": {}}
    )


def write_via(folder: Path) -> Path:
    entries = {}
    for name, objects in OBJECTS.items():
        write_image(folder / f"{name}.png")
        regions = []
        for label, left, top, right, bottom in objects:
            shape = {"name": "rect", "x": left, "y": top, "width": right - left, "height": bottom - top}
            regions.append({"shape_attributes": shape, "region_attributes": {"type": label}})
        entries[f"{name}.png1234"] = {"filename": f"{name}.png", "size": 1234, "regions": regions}
    return write_json(folder / "via_region_data.json", entries)


def write_labelme(folder: Path) -> Path:
    for name, objects in OBJECTS.items():
        write_image(folder / f"{name}.png")
        shapes: list[dict[str, Any]] = []
        for label, left, top, right, bottom in objects:
            if label == "car":
                mask = png_in_base64(np.ones((bottom - top, right - left), dtype=bool))
                points = [[left, top], [right - 1, bottom - 1]]
                shapes.append({"label": label, "points": points, "shape_type": "mask", "mask": mask})
            else:
                shapes.append({"label": label, "points": [[right, bottom], [left, top]], "shape_type": "rectangle"})
        write_json(folder / f"{name}.json", {"version": "5.5.0", "shapes": shapes, "imagePath": f"{name}.png"})
    return folder


def write_yolo(folder: Path) -> Path:
    for name, objects in OBJECTS.items():
        write_image(folder / "images" / "train" / f"{name}.png")
        lines = []
        for label, *box in objects:
            shares = [value / side for value, side in zip(corners(tuple(box)), [WIDTH, HEIGHT] * 4, strict=True)]
            lines.append(" ".join(map(str, [["car", "person"].index(label), *shares])))
        labels = folder / "labels" / "train" / f"{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("\n".join(lines) + "\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/train\nnames:\n  0: car\n  1: person\n")
    return folder / "data.yaml"


def write_voc(folder: Path) -> Path:
    for name, objects in OBJECTS.items():
        write_image(folder / "JPEGImages" / f"{name}.jpg")
        write_labels(folder / "SegmentationObject" / f"{name}.png", numbered(objects, list(range(1, len(objects) + 1))))
        classes = [{"car": 7, "person": 15}[label] for label, *_ in objects]
        write_labels(folder / "SegmentationClass" / f"{name}.png", numbered(objects, classes))
    names = folder / "ImageSets" / "Segmentation" / "train.txt"
    names.parent.mkdir(parents=True)
    names.write_text("a\nb\n")
    return names


def write_cityscapes(folder: Path) -> Path:
    for name, objects in OBJECTS.items():
        write_image(folder / "leftImg8bit" / "train" / "ulm" / f"ulm_{name}_leftImg8bit.png")
        values = [{"car": 26, "person": 24}[label] * 1000 + number for number, (label, *_) in enumerate(objects)]
        file = folder / "gtFine" / "train" / "ulm" / f"ulm_{name}_gtFine_instanceIds.png"
        write_labels(file, numbered(objects, values))
    return folder


def write_masks(folder: Path) -> Path:
    for name, objects in OBJECTS.items():
        write_image(folder / "images" / f"{name}.png")
        for number, (label, *box) in enumerate(objects):
            write_labels(folder / "masks" / name / label / f"{number}.png", bitmap(tuple(box)) * 255)
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "coco": write_coco,
    "via": write_via,
    "labelme": write_labelme,
    "yolo": write_yolo,
    "voc": write_voc,
    "cityscapes": write_cityscapes,
    "masks": write_masks,
}
