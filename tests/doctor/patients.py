"""A sound COCO data set, written to disk, to plant faults in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastmrcnn.doctor import DoctorConfig, Problem, Split, examine, problems_of

HEIGHT, WIDTH = 30, 40
Document = dict[str, Any]
Plant = Callable[[Document, Path], None]


def write_image(path: Path, seed: int, height: int = HEIGHT, width: int = WIDTH) -> None:
    """Noise in large patches: smooth enough to look the same after compression, different for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(patches).resize((width, height), Image.Resampling.NEAREST).save(path)


def rectangle(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    """The segmentation of a rectangle."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def sound_document(images: int = 4) -> Document:
    """Images 1, 2, ...; each has two objects of each of two classes, one of one pixel, and the first has a crowd."""
    document: Document = {
        "info": {"description": "a test"},
        "images": [
            {"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH, "licence": 7}
            for number in range(1, images + 1)
        ],
        "categories": [{"id": 1, "name": "car", "supercategory": "vehicle"}, {"id": 2, "name": "person"}],
        "annotations": [],
    }
    places = [(2, 3, 12, 9), (20, 10, 25, 29), (30, 2, 39, 6), (5, 15, 6, 16)]
    for image in range(1, images + 1):
        for place, (left, top, right, bottom) in enumerate(places):
            number = len(document["annotations"]) + 1
            document["annotations"].append(
                {
                    "id": number,
                    "image_id": image,
                    "category_id": 1 + place % 2,
                    "segmentation": rectangle(left, top, right, bottom),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                }
            )
    size = [HEIGHT, WIDTH]
    crowd = {"size": size, "counts": [1000, 60, HEIGHT * WIDTH - 1060]}
    number = len(document["annotations"]) + 1
    document["annotations"].append({"id": number, "image_id": 1, "category_id": 2, "segmentation": crowd, "iscrowd": 1})
    return document


def write_patient(folder: Path, plant: Plant | None = None, *, name: str = "train", seed: int = 0) -> Path:
    """Write the data set with whatever ``plant`` does to its document and its folder of images; the JSON file."""
    document, images = sound_document(), folder / f"{name} images"
    for image in document["images"]:
        write_image(images / image["file_name"], seed + image["id"])
    if plant is not None:
        plant(document, images)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document))
    return path


def diagnose(folder: Path, plant: Plant | None = None, **options: Any) -> tuple[list[Split], list[Problem]]:
    """The splits and the problems of a data set with a fault."""
    path = write_patient(folder, plant)
    splits = examine(path, DoctorConfig(images=folder / "train images", **options))
    return splits, problems_of(splits)
