"""Which ids the COCO results of a prediction carry: those of an annotation file, or running numbers."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastmrcnn.errors import UserError
from fastmrcnn.files import read_json
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.models import MaskRCNNConfig
from fastmrcnn.structures import Detections

_Ids = dict[tuple[str, int], int]  # by file name and page


@dataclass(frozen=True)
class CocoIds:
    """The image id of each picture, by its place, and the category id of each class name."""

    image_of: Sequence[int]
    category_of: dict[str, int]

    def results(self, picture: Picture, found: Detections) -> list[dict[str, Any]]:
        """COCO results of a picture; those of classes without an id are left out."""
        return [
            result | {"category_id": self.category_of[name]}
            for name, result in zip(found.names, found.to_coco(self.image_of[picture.place]), strict=True)
            if name in self.category_of
        ]

    def entry(self, picture: Picture, found: Detections) -> dict[str, Any]:
        """What images.json says of a picture; ``name`` is what its files in other outputs are called."""
        height, width = found.image_size
        about = {"id": self.image_of[picture.place], "file_name": picture.file_name, "height": height, "width": width}
        return about | picture.within | {"name": picture.name}


def numbered(model: MaskRCNNConfig) -> CocoIds:
    """Pictures numbered from 1, however many; the model's own category ids."""
    return CocoIds(range(1, sys.maxsize), dict(zip(model.class_names, model.category_ids, strict=True)))


def ids_of_file(annotations: Path, pictures: Sequence[Picture], model: MaskRCNNConfig) -> CocoIds:
    """The ids that a COCO file gives: to images by file name (and ``page``, from 1), to classes by category name.

    A file without ``categories`` leaves the model's own ids.

    Raises ``UserError`` for a file of another kind, a path that it does not list or that fits several of its entries,
    two paths for one entry, and where it has no category that the model knows.
    """
    document = read_json(annotations, expected="COCO annotations")
    try:
        known = {(str(image["file_name"]), image.get("page", 1)): int(image["id"]) for image in document["images"]}
        listed = {str(entry["name"]): int(entry["id"]) for entry in document.get("categories", [])}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(
            f"{annotations}: expected 'images' with 'id' and 'file_name' and 'categories' with 'id' and 'name'"
        ) from None
    image_of = _match_images(annotations, known, pictures)
    if not listed:
        return CocoIds(image_of, numbered(model).category_of)
    category_of = {name: number for name, number in listed.items() if name in model.class_names}
    if not category_of:
        expected, got = ", ".join(model.class_names), ", ".join(listed)
        raise UserError(f"{annotations}: expected a category that the model knows ({expected}); got {got}")
    return CocoIds(image_of, category_of)


def _match_images(annotations: Path, known: _Ids, pictures: Sequence[Picture]) -> Sequence[int]:
    uses = Counter((Path(name).name, page) for name, page in known)
    by_last_part = {(Path(name).name, page): number for (name, page), number in known.items()}
    place_of: dict[int, int] = {}
    for picture in pictures:
        source, page, last_part = picture.source, picture.page or 1, picture.path.name
        number = next((known[name, page] for name in _trailing_paths(picture.path) if (name, page) in known), None)
        if number is None and uses[last_part, page] > 1:
            found = uses[last_part, page]
            raise UserError(f"{source}: expected one image of that name in {annotations}; it lists {found}")
        number = by_last_part.get((last_part, page)) if number is None else number
        if number is None:
            missing = "file_name" if picture.page is None else f"file_name with page {page}"
            raise UserError(f"{source}: expected an image that {annotations} lists; there is no such {missing}")
        if number in place_of:
            other = pictures[place_of[number]].source
            raise UserError(f"{source}: is image {number} of {annotations}, and so is {other}; expected one file")
        place_of[number] = picture.place
    return array("q", place_of)


def _trailing_paths(path: Path) -> list[str]:
    """``a/b/c.jpg``, ``b/c.jpg``, ``c.jpg``: a file name in COCO JSON may be relative to any parent folder."""
    return ["/".join(path.parts[start:]) for start in range(len(path.parts))]
