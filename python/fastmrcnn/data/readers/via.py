"""VGG Image Annotator 1 and 2: the JSON of its regions or of a whole project, Matterport's balloons among them.

Source: https://gitlab.com/vgg/via, ``via-2.x.y/CodeDoc.md``. An image is ``{filename, size, regions, file_attributes}``
where the size is in bytes; the regions are a list, in version 1 an object of them by number. ``theta`` turns an
ellipse, in radians.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord
from fastmrcnn.data.readers.images import image_record, number_classes
from fastmrcnn.data.readers.shapes import checked_outline, ellipse, rectangle
from fastmrcnn.data.readers.source import Source
from fastmrcnn.data.readers.values import kind_of, list_of, number_of, text_of, value_of
from fastmrcnn.errors import UserError

ONLY_CLASS = "object"  # of regions without attributes
CLASS_ATTRIBUTES = ("class", "label", "category", "name", "type", "object")
"""Of several attributes of regions, the first of these names the class."""

_log = logging.getLogger(__name__)
_MEASURES = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}


@dataclass(frozen=True)
class _Region:
    number: int  # in its image
    where: str  # for messages
    shape: dict[str, Any]
    attributes: dict[str, Any]


def is_via(source: Source) -> bool:
    """Whether ``source`` is a project of VIA or its exported regions."""
    if not source.is_json or not isinstance(source.document, dict):
        return False
    if "_via_img_metadata" in source.document:
        return True
    entries = source.document.values()
    return any(isinstance(entry, dict) and {"filename", "regions"} <= entry.keys() for entry in entries)


def read_via(source: Source) -> Annotations:
    """Read polygons, polylines (as closed), circles, ellipses and rectangles; points and lines are refused.

    Images without regions are left out, as VIA lists those that nobody has annotated yet. The class is the value of
    the regions' one attribute, or of the first of ``CLASS_ATTRIBUTES`` among several; regions without attributes are
    all of the class "object". Images are those beside the file where no folder is named.

    Raises:
        UserError: naming the file, the image and the region.
    """
    name, document = str(source.path), source.document
    if isinstance(document, dict):
        document = document.get("_via_img_metadata", document)
    if not isinstance(document, dict):
        raise UserError(f"{name}: expected images of VIA by their keys; got {kind_of(document)}")
    regions = _read_regions(source, name, document)
    attribute = _class_attribute(name, regions)
    classes: dict[int, str] = {}
    for file_name, group in regions.items():
        for region in group:
            with source.part(name, file_name, region.number):
                classes[id(region)] = _class_of(region, attribute)
    ids = number_classes(classes.values())
    folder = source.images or source.folder
    images: dict[int, ImageRecord] = {}
    objects: dict[int, list[ObjectRecord]] = {}
    for number, (file_name, group) in enumerate(regions.items(), 1):
        with source.part(name, file_name):
            images[number] = image = image_record(f"{name}: image '{file_name}'", number, folder, file_name)
            objects[number] = []
            for region in (region for region in group if id(region) in classes):
                with source.part(name, file_name, region.number):
                    outline = checked_outline(region.where, _outline(region.where, region.shape), image)
                    objects[number].append(ObjectRecord(region.number, ids[classes[id(region)]], outline))
    return Annotations(name, folder, {number: label for label, number in ids.items()}, images, objects)


def _read_regions(source: Source, name: str, document: dict[str, Any]) -> dict[str, list[_Region]]:
    """The regions of each image that has any, by its file name."""
    found: dict[str, list[_Region]] = {}
    for key, entry in document.items():
        with source.part(name, str(key)):
            file_name = text_of(f"{name}: image '{key}'", entry, "filename")
            where = f"{name}: image '{file_name}'"
            regions = value_of(where, entry, "regions")
            numbered = regions.items() if isinstance(regions, dict) else enumerate(list_of(where, entry, "regions"))
            if file_name in found:
                raise UserError(f"{where} appears twice; expected each image once")
            group = []
            for position, (number, region) in enumerate(numbered):
                with source.part(name, file_name, number):
                    group.append(_read_region(position, f"{where}: region {number}", region))
            if group:
                found[file_name] = group
    if not found:
        raise UserError(f"{name}: expected at least one region; got none")
    if len(found) < len(document):
        _log.info("%s: %d images without regions are left out", name, len(document) - len(found))
    return found


def _read_region(number: int, where: str, region: Any) -> _Region:
    shape, attributes = value_of(where, region, "shape_attributes"), value_of(where, region, "region_attributes")
    if not isinstance(attributes, dict):
        raise UserError(f"{where}: region_attributes must be an object; got {kind_of(attributes)}")
    return _Region(number, where, shape, attributes)


def _class_attribute(name: str, regions: dict[str, list[_Region]]) -> str | None:
    """The attribute whose values are the classes; None where no region has any."""
    used = {key for group in regions.values() for region in group for key in region.attributes}
    if len(used) <= 1:
        return next(iter(used), None)
    for wanted in CLASS_ATTRIBUTES:
        for key in sorted(used):
            if key.lower() == wanted:
                return key
    raise UserError(
        f"{name}: regions have the attributes {', '.join(sorted(used))}; expected one of them to be named "
        f"{', '.join(CLASS_ATTRIBUTES[:-1])} or {CLASS_ATTRIBUTES[-1]}, to name the classes"
    )


def _class_of(region: _Region, attribute: str | None) -> str:
    if attribute is None:
        return ONLY_CLASS
    value = region.attributes.get(attribute)
    if isinstance(value, dict):  # check boxes: {"cat": true, "dog": false}
        chosen = [key for key, is_chosen in value.items() if is_chosen]
        value = chosen[0] if len(chosen) == 1 else None
    if not isinstance(value, str) or not value.strip():
        got = region.attributes.get(attribute, "no such attribute")
        raise UserError(f"{region.where}: expected a class in the attribute '{attribute}'; got {got!r:.60}")
    return value.strip()


def _outline(where: str, shape: dict[str, Any]) -> list[float]:
    kind = text_of(where, shape, "name")
    if kind in ("polygon", "polyline"):
        points_x, points_y = list_of(where, shape, "all_points_x"), list_of(where, shape, "all_points_y")
        if len(points_x) != len(points_y):
            got = f"{len(points_x)} and {len(points_y)}"
            raise UserError(f"{where}: expected as many all_points_x as all_points_y; got {got}")
        return [value for point in zip(points_x, points_y, strict=True) for value in point]
    if kind not in _MEASURES:
        raise UserError(f"{where}: expected a polygon, polyline, rect, circle or ellipse; got a {kind} without area")
    x, y, *extent = (number_of(where, shape, key) for key in _MEASURES[kind])
    if min(extent) <= 0:
        keys = " and ".join(_MEASURES[kind][2:])
        raise UserError(f"{where}: expected {keys} above 0; got {' and '.join(f'{value:g}' for value in extent)}")
    if kind == "rect":
        return rectangle(x, y, x + extent[0], y + extent[1])
    angle = number_of(where, shape, "theta") if "theta" in shape else 0.0
    return ellipse(x, y, extent[0], extent[-1], angle)
