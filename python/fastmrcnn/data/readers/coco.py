"""A COCO annotation file, read and checked: every mistake is one line that names the file and the record."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord
from fastmrcnn.data.masks import check_segmentation
from fastmrcnn.data.mistakes import InvalidSegmentation, UnknownCategory
from fastmrcnn.data.readers.source import Source
from fastmrcnn.data.readers.values import is_number, kind_of, text_of, whole_of
from fastmrcnn.errors import UserError


def is_coco(source: Source) -> bool:
    """Whether ``source`` is a JSON object with COCO's lists."""
    return source.is_json and isinstance(source.document, dict) and {"images", "annotations"} <= source.document.keys()


def read_coco(source: Source) -> Annotations:
    """Read and check a COCO annotation file.

    Required are ``images`` (id, file_name, height, width), ``categories`` (id, name) and ``annotations`` (id, image_id,
    category_id, segmentation); ``bbox``, ``area`` and ``iscrowd`` may be missing. Images without annotations are fine,
    and so are whole numbers written as floats (480.0). The images are those beside the file where no folder is named.

    Raises:
        UserError: no such file, broken JSON, a missing or ill-typed key, an id, a category name or an image file that
            is used twice, an annotation of an unknown image or category, a malformed segmentation.
    """
    name, document = str(source.path), source.document
    if not isinstance(document, dict):
        raise UserError(f"{name}: expected a COCO object; got {kind_of(document)}")
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            found = kind_of(document[key]) if key in document else "no such key"
            raise UserError(f"{name}: expected a COCO object with a list '{key}'; got {found}")
    categories = _read_categories(name, document["categories"])
    images = _read_images(name, document["images"])
    objects = _read_objects(name, document["annotations"], images, categories)
    keypoint_names = {int(entry["id"]): entry["keypoints"] for entry in document["categories"] if "keypoints" in entry}
    return Annotations(name, source.images or source.folder, categories, images, objects, keypoint_names)


def _read_categories(name: str, entries: list[Any]) -> dict[int, str]:
    categories: dict[int, str] = {}
    for position, entry in enumerate(entries):
        where = f"{name}: category at position {position}"
        identifier, label = whole_of(where, entry, "id"), text_of(where, entry, "name")
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
    identifier = whole_of(f"{name}: image at position {position}", entry, "id")
    where = f"{name}: image {identifier}"
    height, width = whole_of(where, entry, "height"), whole_of(where, entry, "width")
    if height < 1 or width < 1:
        raise UserError(f"{where}: expected height and width of at least 1; got {height} and {width}")
    return ImageRecord(identifier, text_of(where, entry, "file_name"), height, width)


def _read_objects(
    name: str, entries: list[Any], images: dict[int, ImageRecord], categories: dict[int, str]
) -> dict[int, list[ObjectRecord]]:
    objects: dict[int, list[ObjectRecord]] = defaultdict(list)
    seen: set[int] = set()
    for position, entry in enumerate(entries):
        identifier = whole_of(f"{name}: annotation at position {position}", entry, "id")
        where = f"{name}: annotation {identifier}"
        if identifier in seen:
            raise UserError(f"{name}: annotation id {identifier} appears twice; expected unique ids")
        seen.add(identifier)
        image_id = whole_of(where, entry, "image_id")
        if image_id not in images:
            raise UserError(f"{where}: image_id {image_id} is not among the file's images")
        category_id = whole_of(where, entry, "category_id")
        if category_id not in categories:
            message = f"{where}: category_id {category_id} is not among the file's categories"
            raise UnknownCategory(message, category_id)
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
        raise InvalidSegmentation(f"{where}: segmentation: {error}") from None
    iscrowd = entry.get("iscrowd", 0)
    if iscrowd not in (0, 1):
        raise UserError(f"{where}: iscrowd must be 0 or 1; got {iscrowd!r}")
    area = entry.get("area")
    if area is not None and not (is_number(area) and area >= 0):
        raise UserError(f"{where}: area must be a finite number, not negative; got {area!r:.60}")
    bbox = _read_box(where, entry.get("bbox"))
    keypoints = entry.get("keypoints")
    return ObjectRecord(identifier, category_id, entry["segmentation"], bbox, area, bool(iscrowd), keypoints)


def _read_box(where: str, box: Any) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise UserError(f"{where}: bbox must be four finite numbers (x, y, width, height); got {box!r:.60}")
    x, y, width, height = map(float, box)
    return (x, y, width, height) if width > 0 and height > 0 else None
