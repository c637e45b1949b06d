"""A COCO file read to its end: what is sound in it, and all that is not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord
from fastmrcnn.data.readers.source import Source
from fastmrcnn.data.readers.values import is_number, kind_of, whole_of
from fastmrcnn.doctor.coco_tables import Entry, Table, read_categories, read_images, tried
from fastmrcnn.doctor.labels import find_shift
from fastmrcnn.doctor.mending import in_fractions, mend_segmentation, scaled
from fastmrcnn.doctor.problem import (
    DUPLICATE_ANNOTATION_ID,
    FRACTIONS,
    INVALID_ANNOTATION,
    INVALID_BOX,
    LABEL_OFF_BY_ONE,
    LEFT_OUT,
    MEASURED_BOX,
    MISSING_SEGMENTATION,
    NO_OBJECT,
    UNKNOWN_CATEGORY,
    UNKNOWN_IMAGE,
    ZERO_AREA_BOX,
    Box,
    Findings,
)
from fastmrcnn.errors import UserError
from fastmrcnn.ops import InstanceMasks

SCALED = "multiplied by the sides of the image"


@dataclass
class CocoEntries:
    """What a COCO file says beside what training reads, to be kept in a repaired copy."""

    document: Entry
    categories: dict[int, Entry]
    images: dict[int, Entry]
    annotations: dict[int, Entry] = field(default_factory=dict)


def read_coco_to_the_end(source: Source, findings: Findings) -> tuple[Annotations, CocoEntries]:
    """The sound part of a COCO file; every problem of the rest goes to ``findings``.

    Raises:
        UserError: it is no JSON, or no COCO object with its three lists, or it lists no category.
    """
    document = source.document
    lists = ("images", "annotations", "categories")
    for key in lists:
        value = document.get(key) if isinstance(document, dict) else None
        if not isinstance(value, list):
            found = kind_of(value) if isinstance(document, dict) and key in document else "no such list"
            raise UserError(f"{source.path}: expected a COCO object with a list '{key}'; got {found}")
    folder = source.images or source.folder
    names, categories = read_categories(document["categories"], findings)
    if not names:
        raise UserError(f"{source.path}: expected at least one category; got none that can be read")
    images, image_table = read_images(document["images"], folder, findings)
    entries = CocoEntries(document, categories.entries, image_table.entries)
    reader = _ObjectReader(findings, images, image_table, names, categories, entries, document["annotations"])
    objects = reader.read()
    keypoints = {number: entry["keypoints"] for number, entry in categories.entries.items() if "keypoints" in entry}
    return Annotations(str(source.path), folder, names, images, objects, keypoints), entries


class _ObjectReader:
    """Reads the annotations, one after the other, against the tables of images and categories."""

    def __init__(
        self,
        findings: Findings,
        images: dict[int, ImageRecord],
        image_table: Table,
        categories: dict[int, str],
        category_table: Table,
        entries: CocoEntries,
        annotations: list[Any],
    ) -> None:
        self.findings, self.images, self.categories = findings, images, categories
        self.image_table, self.category_table, self.entries = image_table, category_table, entries
        self.annotations = annotations
        ids = {tried(whole_of, entry, "id")[0] for entry in annotations}
        self.free_ids: Iterator[int] = (number for number in count(1) if number not in ids)
        used = {tried(whole_of, entry, "category_id")[0] for entry in annotations} - {None}
        self.shift = find_shift({number for number in used if number is not None}, categories.keys())
        masks = [entry["segmentation"] for entry in annotations if isinstance(entry, dict) and "segmentation" in entry]
        fractions = sum(map(in_fractions, masks))
        # One object in the corner of an image is no system; most of all objects there are.
        self.in_fractions = fractions >= 2 and 2 * fractions > len(masks)

    def read(self) -> dict[int, list[ObjectRecord]]:
        """The sound objects of each image."""
        objects: dict[int, list[ObjectRecord]] = defaultdict(list)
        for position, entry in enumerate(self.annotations):
            if not isinstance(entry, dict):
                text = f"annotation at position {position}: expected an object; got {kind_of(entry)}"
                self.findings.add(INVALID_ANNOTATION, text, repair=LEFT_OUT)
                continue
            identifier = self._identify(position, entry)
            image = None if identifier is None else self._find_image(identifier, entry)
            if identifier is None or image is None:
                continue
            item = self._read_object(identifier, entry, image)
            if item is not None:
                objects[image.id].append(item)
                self.entries.annotations[identifier] = entry
        if self.in_fractions and objects and not self._any_has_a_pixel(objects):
            text = f"none of the {len(self.images)} images has an object: masks in 0..1 have no pixel"
            self.findings.add(NO_OBJECT, text, repair=SCALED)
        return dict(objects)

    def _any_has_a_pixel(self, objects: dict[int, list[ObjectRecord]]) -> bool:
        """Whether training finds an object in the file as it is; one in the corner of an image may be in pixels."""
        for number, items in objects.items():
            written = [self.entries.annotations[item.id]["segmentation"] for item in items if not item.iscrowd]
            small = [segmentation for segmentation in written if in_fractions(segmentation)]
            image = self.images[number]
            areas = InstanceMasks.from_coco(small, image.height, image.width).to_runs().areas()
            if len(small) < len(written) or (areas > 0).any():
                return True
        return False

    def _identify(self, position: int, entry: Entry) -> int | None:
        """The id of an annotation, a new one where it has none of its own; None for a mere copy of another."""
        identifier, problem = tried(whole_of, entry, "id")
        if identifier is not None and identifier not in self.entries.annotations:
            return identifier
        if identifier is None:
            number = next(self.free_ids)
            text = f"annotation at position {position}: {problem}"
            self.findings.add(INVALID_ANNOTATION, text, repair=f"numbered {number}")
            return number
        if entry == self.entries.annotations[identifier]:
            text = f"the id {identifier} appears twice, with the same content"
            self.findings.add(DUPLICATE_ANNOTATION_ID, text, annotation=identifier, repair=LEFT_OUT)
            return None
        number = next(self.free_ids)
        text = f"the id {identifier} appears twice, here at position {position}; expected unique ids"
        self.findings.add(DUPLICATE_ANNOTATION_ID, text, annotation=identifier, repair=f"numbered {number}")
        return number

    def _find_image(self, identifier: int, entry: Entry) -> ImageRecord | None:
        image_id, problem = tried(whole_of, entry, "image_id")
        if image_id is None:
            self.findings.add(INVALID_ANNOTATION, problem, annotation=identifier, repair=LEFT_OUT)
            return None
        image = self.images.get(self.image_table.same_as.get(image_id, image_id))
        if image is None and image_id not in self.image_table.lost:
            text = f"image_id {image_id} is not among the file's images"
            self.findings.add(UNKNOWN_IMAGE, text, annotation=identifier, repair=LEFT_OUT)
        return image

    def _read_object(self, identifier: int, entry: Entry, image: ImageRecord) -> ObjectRecord | None:
        box = _drawn_box(entry.get("bbox"))
        where: dict[str, Any] = {"annotation": identifier, "image": image.file_name, "box": box}
        category = self._find_category(entry, where)
        segmentation = self._read_segmentation(entry, image, where)
        if category is None or segmentation is None:
            return None
        iscrowd, area = entry.get("iscrowd", 0), entry.get("area")
        if iscrowd not in (0, 1):
            text = f"iscrowd must be 0 or 1; got {iscrowd!r:.60}"
            self.findings.add(INVALID_ANNOTATION, text, **where, repair="iscrowd set to 0")
            iscrowd = 0
        if area is not None and not (is_number(area) and area >= 0):
            text = f"area must be a finite number, not negative; got {area!r:.60}"
            self.findings.add(INVALID_ANNOTATION, text, **where, repair="area measured on the mask")
            area = None
        bbox = None if self.in_fractions else self._read_box(entry.get("bbox"), where)
        keypoints = entry.get("keypoints")
        return ObjectRecord(identifier, category, segmentation, bbox, area, bool(iscrowd), keypoints)

    def _find_category(self, entry: Entry, where: dict[str, Any]) -> int | None:
        number, problem = tried(whole_of, entry, "category_id")
        if number is None:
            self.findings.add(INVALID_ANNOTATION, problem, **where, repair=LEFT_OUT)
            return None
        moved = number + self.shift
        if self.shift and number not in self.categories:
            known = f"{min(self.categories)}..{max(self.categories)}"
            text = f"category_id {number} where categories are {known}: all ids seem off by {-self.shift:+d}"
            repair = f"{self.shift:+d} on the category_id of every annotation"
            self.findings.add(LABEL_OFF_BY_ONE, text, **where, repair=repair)
        moved = self.category_table.same_as.get(moved, moved)
        if moved in self.categories:
            return moved
        if moved not in self.category_table.lost:
            text = f"category_id {number} is not among the file's categories"
            self.findings.add(UNKNOWN_CATEGORY, text, **where, repair=LEFT_OUT)
        return None

    def _read_segmentation(self, entry: Entry, image: ImageRecord, where: dict[str, Any]) -> Any:
        if "segmentation" not in entry:
            self.findings.add(MISSING_SEGMENTATION, "expected the key 'segmentation'", **where, repair=LEFT_OUT)
            return None
        segmentation = entry["segmentation"]
        mended = mend_segmentation(segmentation, image)
        if mended is not None:
            self.findings.add(mended.kind, mended.text, **where, repair=mended.repair)
            segmentation = mended.segmentation
        if segmentation is not None and self.in_fractions and in_fractions(segmentation):
            text = f"expected coordinates in pixels of {image.width} x {image.height}; all lie within 0..1"
            self.findings.add(FRACTIONS, text, **where, repair=SCALED)
            segmentation = scaled(segmentation, image)
        return segmentation

    def _read_box(self, box: Any, where: dict[str, Any]) -> tuple[float, float, float, float] | None:
        if box is None:
            return None
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            text = f"bbox must be four finite numbers (x, y, width, height); got {box!r:.60}"
            self.findings.add(INVALID_BOX, text, **where, repair=MEASURED_BOX)
            return None
        x, y, width, height = map(float, box)
        if width > 0 and height > 0:
            return x, y, width, height
        text = f"bbox {box} has a width of {width:g} and a height of {height:g}"
        self.findings.add(ZERO_AREA_BOX, text, **where, repair=MEASURED_BOX)
        return None


def _drawn_box(box: Any) -> Box | None:
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return None
    x, y, width, height = map(float, box)
    return x, y, x + width, y + height
