"""A repaired copy: what is sound, as COCO files, with the images. The data set itself is never written to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from fastmrcnn.data.annotations import ObjectRecord
from fastmrcnn.doctor.examination import Split, problems_of
from fastmrcnn.doctor.images import ExaminedImage
from fastmrcnn.doctor.labels import is_background
from fastmrcnn.errors import UserError
from fastmrcnn.files import atomic_directory, write_json
from fastmrcnn.structures.image_files import open_image

REPAIRS = "repairs.json"


def write_repaired(splits: Sequence[Split], folder: Path, *, link: bool = False) -> list[Path]:
    """Write ``folder`` with ``train.json``, the images in ``train``, likewise ``val``, and ``repairs.json``.

    Images keep their bytes; ``link`` makes hard links of them where the file system has any. Of a COCO file everything
    else that it says is kept: licences, supercategories, keypoints.

    Returns:
        The annotation files, in the order of the splits.

    Raises:
        UserError: the folder exists already: a repaired copy replaces nothing.
    """
    if folder.exists():
        raise UserError(f"{folder}: expected a new folder for the repaired copy; it exists already")
    with atomic_directory(folder) as temporary:
        for split in splits:
            names = _place_images(split, temporary / split.name, link)
            write_json(temporary / f"{split.name}.json", _document(split, names, splits[0]))
        repairs = [problem.to_dict() for problem in problems_of(splits)]
        write_json(temporary / REPAIRS, repairs, indent=1)
    return [folder / f"{split.name}.json" for split in splits]


def kept_images(split: Split) -> list[ExaminedImage]:
    """The images of the repaired split."""
    return [image for image in split.images if image.sound and image.record.id not in split.leaked]


def _place_images(split: Split, folder: Path, link: bool) -> dict[int, str]:
    """Link or copy the images into ``folder``; their new names by id."""
    folder.mkdir()
    names: dict[int, str] = {}
    taken: set[str] = set()
    for image in kept_images(split):
        name = _name_within(image.record.file_name)
        if image.as_stored:
            name = PurePath(name).with_suffix(".png").as_posix()
        while name.lower() in taken:
            name = f"{image.record.id}_{PurePath(name).name}"
        taken.add(name.lower())
        names[image.record.id] = name
        source, target = split.content.folder / image.record.file_name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if image.as_stored:
            _write_as_stored(source, target)
        else:
            _place(source.resolve(), target, link)
    return names


def _place(source: Path, target: Path, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)


def _write_as_stored(source: Path, target: Path) -> None:
    """The pixels without what says how to turn them: an array has no metadata."""
    with open_image(source) as image:
        Image.fromarray(np.asarray(image)).save(target)


def _name_within(name: str) -> str:
    """A file name that stays inside of the folder: an absolute one, or one with "..", loses its folders."""
    path = PurePath(name)
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def _document(split: Split, names: dict[int, str], train: Split) -> dict[str, Any]:
    """The COCO document of a repaired split; classes have the ids of the training split."""
    id_of = _category_ids(split, train)
    counted = {item.category_id for image in split.images for item in image.measured.objects}
    originals = split.entries
    others = {} if originals is None else originals.document
    categories = [
        ({} if originals is None else originals.categories[number]) | {"id": id_of[name], "name": name}
        for number, name in split.content.categories.items()
        if number in counted or not is_background(name)
    ]
    images, annotations = [], []
    every_crowd = all(item.iscrowd for image in split.images for item in image.measured.objects)
    numbers = count(1)
    for image in kept_images(split):
        record = image.record
        entry = {} if originals is None else originals.images.get(record.id, {})
        size = {"height": record.height, "width": record.width}
        images.append(entry | {"id": record.id, "file_name": names[record.id]} | size)
        for item, box, area in zip(image.measured.objects, image.measured.boxes, image.measured.areas, strict=True):
            own = {} if originals is None else originals.annotations[item.id]
            # Other formats number the objects of each image anew.
            number = item.id if originals is not None else next(numbers)
            category = id_of[split.content.categories[item.category_id]]
            annotation = _annotation(item, box.tolist(), float(area))
            if every_crowd:
                annotation["iscrowd"] = 0
            annotations.append(own | annotation | {"id": number, "image_id": record.id, "category_id": category})
    if originals is not None:  # in the order of the file, not image by image
        place = {number: position for position, number in enumerate(originals.annotations)}
        annotations.sort(key=lambda entry: place[entry["id"]])
    return others | {"images": images, "annotations": annotations, "categories": categories}


def _category_ids(split: Split, train: Split) -> dict[str, int]:
    """Ids by name: those of the training split, and the next free ones for classes that it does not know."""
    ids = {name: number for number, name in train.content.categories.items()}
    free = count(max(ids.values()) + 1)
    return ids | {name: next(free) for name in split.content.categories.values() if name not in ids}


def _annotation(item: ObjectRecord, box: list[float], area: float) -> dict[str, Any]:
    measured = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    return {
        "segmentation": item.segmentation,
        "bbox": measured if item.bbox is None else list(item.bbox),
        "area": area if item.area is None else item.area,
        "iscrowd": int(item.iscrowd),
    }
