"""A COCO annotation file, read and checked: every mistake is one line that names the file and the record."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastmrcnn.data.masks import Segmentation, check_segmentation
from fastmrcnn.errors import UserError
from fastmrcnn.files import read_json

_LARGEST_ID = 2**63 - 1  # what a tensor and the evaluation's native code hold
_LARGEST_NUMBER = 1e12  # pixels: beyond any image, and far from float32's limit


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One entry of ``images``."""

    id: int
    file_name: str
    height: int  # pixels
    width: int


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One entry of ``annotations``; the segmentation is as in the file."""

    id: int
    category_id: int
    segmentation: Segmentation
    bbox: tuple[float, float, float, float] | None  # x, y, width, height in pixels; None where missing or empty
    area: float | None  # pixels
    iscrowd: bool


@dataclass(frozen=True)
class AnnotationFile:
    """The checked content of a COCO file."""

    path: str
    categories: dict[int, str]  # id -> name, in order of the ids
    images: dict[int, ImageRecord]  # in the file's order
    objects: dict[int, list[ObjectRecord]]  # image id -> its objects, in the file's order

    def choose(self, class_names: Sequence[str] | None) -> dict[str, int]:
        """Category ids by name: of ``class_names`` in that order, or of all categories by ascending id.

        Raises:
            UserError: no name at all, a name given twice or one that is no category.
        """
        id_of = {name: identifier for identifier, name in self.categories.items()}
        if class_names is None:
            return id_of
        if not class_names or len(set(class_names)) != len(class_names):
            raise UserError(f"{self.path}: expected distinct class names, at least one; got {list(class_names)}")
        for name in class_names:
            if name not in id_of:
                raise UserError(f"{self.path}: no category is named '{name}'; its categories are {', '.join(id_of)}")
        return {name: id_of[name] for name in class_names}


def read_annotations(path: str | os.PathLike[str]) -> AnnotationFile:
    """Read and check a COCO annotation file.

    Required are ``images`` (id, file_name, height, width), ``categories`` (id, name) and ``annotations`` (id, image_id,
    category_id, segmentation); ``bbox``, ``area`` and ``iscrowd`` may be missing. Images without annotations are fine,
    and so are whole numbers written as floats (480.0).

    Raises:
        UserError: no such file, broken JSON, a missing or ill-typed key, an id, a category name or an image file that
            is used twice, an annotation of an unknown image or category, a malformed segmentation.
    """
    document = read_json(path, expected="a COCO annotation file")
    name = str(path)
    if not isinstance(document, dict):
        raise UserError(f"{name}: expected a COCO object; got {_kind(document)}")
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            found = _kind(document[key]) if key in document else "no such key"
            raise UserError(f"{name}: expected a COCO object with a list '{key}'; got {found}")
    categories = _read_categories(name, document["categories"])
    images = _read_images(name, document["images"])
    return AnnotationFile(name, categories, images, _read_objects(name, document["annotations"], images, categories))


def _read_categories(name: str, entries: list[Any]) -> dict[int, str]:
    categories: dict[int, str] = {}
    for position, entry in enumerate(entries):
        where = f"{name}: category at position {position}"
        identifier, label = _whole(where, entry, "id"), _text(where, entry, "name")
        if identifier in categories:
            raise UserError(f"{name}: category id {identifier} appears twice; expected unique ids")
        if label in categories.values():
            raise UserError(f"{name}: category name '{label}' appears twice; expected unique names")
        categories[identifier] = label
    if not categories:
        raise UserError(f"{name}: expected at least one category; got an empty list")
    return dict(sorted(categories.items()))


def _read_images(name: str, entries: list[Any]) -> dict[int, ImageRecord]:
    images: dict[int, ImageRecord] = {}
    user_of: dict[str, int] = {}  # file name -> image id
    for position, entry in enumerate(entries):
        image = _read_image_record(name, position, entry)
        if image.id in images:
            raise UserError(f"{name}: image id {image.id} appears twice; expected unique ids")
        first = user_of.setdefault(image.file_name, image.id)
        if first != image.id:  # the objects of one picture would be spread over two
            raise UserError(f"{name}: image {image.id}: file_name '{image.file_name}' is that of image {first} already")
        images[image.id] = image
    return images


def _read_image_record(name: str, position: int, entry: Any) -> ImageRecord:
    identifier = _whole(f"{name}: image at position {position}", entry, "id")
    where = f"{name}: image {identifier}"
    height, width = _whole(where, entry, "height"), _whole(where, entry, "width")
    if height < 1 or width < 1:
        raise UserError(f"{where}: expected height and width of at least 1; got {height} and {width}")
    return ImageRecord(identifier, _text(where, entry, "file_name"), height, width)


def _read_objects(
    name: str, entries: list[Any], images: dict[int, ImageRecord], categories: dict[int, str]
) -> dict[int, list[ObjectRecord]]:
    objects: dict[int, list[ObjectRecord]] = defaultdict(list)
    seen: set[int] = set()
    for position, entry in enumerate(entries):
        identifier = _whole(f"{name}: annotation at position {position}", entry, "id")
        where = f"{name}: annotation {identifier}"
        if identifier in seen:
            raise UserError(f"{name}: annotation id {identifier} appears twice; expected unique ids")
        seen.add(identifier)
        image_id = _whole(where, entry, "image_id")
        if image_id not in images:
            raise UserError(f"{where}: image_id {image_id} is not among the file's images")
        category_id = _whole(where, entry, "category_id")
        if category_id not in categories:
            raise UserError(f"{where}: category_id {category_id} is not among the file's categories")
        objects[image_id].append(_read_object(where, identifier, category_id, entry, images[image_id]))
    return dict(objects)


def _read_object(
    where: str, identifier: int, category_id: int, entry: dict[str, Any], image: ImageRecord
) -> ObjectRecord:
    if "segmentation" not in entry:
        raise UserError(f"{where}: expected the key 'segmentation'; got {', '.join(map(str, entry))}")
    try:
        check_segmentation(entry["segmentation"], image.height, image.width)
    except ValueError as error:
        raise UserError(f"{where}: segmentation: {error}") from None
    iscrowd = entry.get("iscrowd", 0)
    if iscrowd not in (0, 1):
        raise UserError(f"{where}: iscrowd must be 0 or 1; got {iscrowd!r}")
    area = entry.get("area")
    if area is not None and not (_is_number(area) and area >= 0):
        raise UserError(f"{where}: area must be a finite number, not negative; got {area!r:.60}")
    bbox = _read_box(where, entry.get("bbox"))
    return ObjectRecord(identifier, category_id, entry["segmentation"], bbox, area, bool(iscrowd))


def _read_box(where: str, box: Any) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise UserError(f"{where}: bbox must be four finite numbers (x, y, width, height); got {box!r:.60}")
    x, y, width, height = map(float, box)
    return (x, y, width, height) if width > 0 and height > 0 else None


def _text(where: str, entry: Any, key: str) -> str:
    value = _value(where, entry, key)
    if not isinstance(value, str):
        raise UserError(f"{where}: {key} must be a string; got {_kind(value)}")
    return value


def _whole(where: str, entry: Any, key: str) -> int:
    """A whole number, not negative; 480.0 is one, true is none."""
    value = _value(where, entry, key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{where}: {key} must be an integer; got {_kind(value)}")
    if not 0 <= value <= _LARGEST_ID:
        raise UserError(f"{where}: {key} must be within 0..2^63 - 1; got {value}")
    return value


def _value(where: str, entry: Any, key: str) -> Any:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected an object; got {_kind(entry)}")
    if key not in entry:
        raise UserError(f"{where}: expected the key '{key}'; got {', '.join(map(str, entry)) or 'an empty object'}")
    return entry[key]


def _is_number(value: Any) -> bool:
    """A JSON number of a size that pixels can have (NaN fails the comparison)."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        int: "an integer",
        float: "a float",
        bool: "a boolean",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
