"""LabelMe: a JSON file for each image.

Source: https://github.com/wkentaro/labelme, ``labelme/utils/shape.py`` and ``examples/instance_segmentation``. Shapes
of one label with the same ``group_id`` are parts of one object.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord
from fastmrcnn.data.masks import encode_rle
from fastmrcnn.data.readers.images import image_record, number_classes
from fastmrcnn.data.readers.shapes import checked_outline, ellipse, rectangle
from fastmrcnn.data.readers.source import Source
from fastmrcnn.data.readers.values import is_number, kind_of, list_of, text_of, value_of, whole_of
from fastmrcnn.errors import UserError
from fastmrcnn.files import read_json
from fastmrcnn.ops import InstanceMasks, unite_masks


@dataclass(frozen=True)
class _Labelled:
    number: int  # of its first shape in the file
    label: str
    segmentation: Any


def is_labelme(source: Source) -> bool:
    """Whether ``source`` is a file of LabelMe, or a folder whose first JSON file is one."""
    if source.is_json:
        return _is_labelme_document(source.document)
    first = min(source.path.glob("*.json"), default=None)
    return first is not None and _is_labelme_document(read_json(first))


def read_labelme(source: Source) -> Annotations:
    """Read a file of LabelMe, or all of a folder: polygons, rectangles, circles, masks; points and lines are refused.

    ``imagePath`` is relative to the file; where a folder of images is named, its last part is looked for there. Classes
    are the labels that occur, in the order of the alphabet.

    Raises:
        UserError: naming the file and the shape. When a sample is read: an image of another size than ``imageHeight``
            and ``imageWidth``.
    """
    files = [source.path] if source.path.is_file() else sorted(source.path.glob("*.json"))
    if not files:
        raise UserError(f"{source.path}: expected JSON files of LabelMe; found none")
    folder = source.images or source.folder
    images: dict[int, ImageRecord] = {}
    labelled: dict[int, list[_Labelled]] = {}
    user_of: dict[str, Path] = {}  # file name of an image -> the JSON that it belongs to
    for number, file in enumerate(files, 1):
        with source.part(file):
            document = read_json(file, expected="a file of LabelMe")
            place = PureWindowsPath(text_of(str(file), document, "imagePath"))  # knows slashes of either kind
            name = place.name if source.images else place.as_posix()
            image = _as_drawn(str(file), document, image_record(str(file), number, folder, name))
            if user_of.setdefault(name, file) != file:
                raise UserError(f"{file}: imagePath '{name}' is that of {user_of[name]} already")
            images[number], labelled[number] = image, _read_objects(source, file, document, image)
    ids = number_classes(item.label for group in labelled.values() for item in group)
    if not ids:
        raise UserError(f"{source.path}: expected at least one shape; got none")
    objects = {
        number: [ObjectRecord(item.number, ids[item.label], item.segmentation) for item in group]
        for number, group in labelled.items()
    }
    return Annotations(str(source.path), folder, {number: label for label, number in ids.items()}, images, objects)


def _is_labelme_document(document: Any) -> bool:
    return isinstance(document, dict) and {"shapes", "imagePath"} <= document.keys()


def _as_drawn(where: str, document: Any, image: ImageRecord) -> ImageRecord:
    """The image with the size that its shapes were drawn on, where the file has it."""
    if document.get("imageHeight") is None or document.get("imageWidth") is None:
        return image
    height, width = whole_of(where, document, "imageHeight"), whole_of(where, document, "imageWidth")
    if height < 1 or width < 1:
        raise UserError(f"{where}: expected imageHeight and imageWidth of at least 1; got {height} and {width}")
    return replace(image, height=height, width=width)


def _read_objects(source: Source, file: Path, document: Any, image: ImageRecord) -> list[_Labelled]:
    """The objects of an image, each of one shape or of those with the same label and group."""
    first_of: dict[Any, int] = {}
    parts: dict[tuple[int, str], list[Any]] = {}  # by the number of the first shape, and the label
    for position, shape in enumerate(list_of(str(file), document, "shapes")):
        where = f"{file}: shape {position}"
        with source.part(file, image.file_name, position):
            label = text_of(where, shape, "label")
            where = f"{where} ('{label}')"
            part = _read_shape(where, shape, image)
            group = shape.get("group_id")
            if group is not None and not isinstance(group, int | str):
                raise UserError(f"{where}: group_id must be an integer or null; got {kind_of(group)}")
            first = position if group is None else first_of.setdefault((label, group), position)
            parts.setdefault((first, label), []).append(part)
    return [_Labelled(first, label, _united(group, image)) for (first, label), group in parts.items()]


def _united(parts: list[Any], image: ImageRecord) -> Any:
    """One segmentation of the parts of an object, each polygons or run lengths."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, list) for part in parts):
        return [polygon for part in parts for polygon in part]
    return unite_masks(InstanceMasks.from_coco(parts, image.height, image.width)).to_rle()[0]


def _read_shape(where: str, shape: dict[str, Any], image: ImageRecord) -> Any:
    """The polygons of a shape, or the run lengths of a mask."""
    points, kind = list_of(where, shape, "points"), shape.get("shape_type") or "polygon"
    if not all(isinstance(point, list) and len(point) == 2 and all(map(is_number, point)) for point in points):
        raise UserError(f"{where}: points must be pairs of numbers; got {points!r:.60}")
    if kind in ("rectangle", "circle", "mask") and len(points) != 2:
        raise UserError(f"{where}: a {kind} has 2 points; got {len(points)}")
    if kind == "mask":
        return _read_mask(where, shape, np.array(points), image)
    if kind == "rectangle":
        outline = rectangle(*points[0], *points[1])
    elif kind == "circle":  # its centre and a point on it
        radius = math.dist(*points)
        outline = ellipse(points[0][0], points[0][1], radius, radius)
    elif kind in ("polygon", "oriented_rectangle"):
        outline = [value for point in points for value in point]
    else:
        raise UserError(f"{where}: expected a polygon, rectangle, circle or mask; got a {kind}, which has no area")
    return checked_outline(where, outline, image)


def _read_mask(where: str, shape: dict[str, Any], corners: NDArray[np.float64], image: ImageRecord) -> Any:
    """A PNG in base64 that covers the pixels from the first corner to the second, both included."""
    encoded = value_of(where, shape, "mask")
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))) as picture:
            mask = np.asarray(picture.convert("L")) > 0
    except (TypeError, binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"{where}: mask must be a PNG file in base64; got {encoded!r:.60}") from None
    (left, top), (right, bottom) = corners.astype(int).tolist()
    inside = 0 <= left <= right < image.width and 0 <= top <= bottom < image.height
    if not inside or mask.shape != (bottom - top + 1, right - left + 1):
        size = f"{mask.shape[1]} x {mask.shape[0]}"
        raise UserError(
            f"{where}: expected a mask from its first point to its second, within {image.width} x {image.height} "
            f"pixels; got {size} pixels from {(left, top)} to {(right, bottom)}"
        )
    whole = np.zeros((image.height, image.width), dtype=np.bool_)
    whole[top : bottom + 1, left : right + 1] = mask
    return encode_rle(whole)
