"""YOLO's segmentation labels: a text file for each image, a line ``class x1 y1 x2 y2 ...`` for each object.

Source: https://docs.ultralytics.com/datasets/segment. Coordinates are fractions of the image's sides. ``images`` and
``labels`` are sibling folders of the same tree; a YAML file names the classes and the folders of the splits.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord
from fastmrcnn.data.mistakes import MissingImage, UnknownCategory
from fastmrcnn.data.readers.images import image_record, list_images
from fastmrcnn.data.readers.shapes import checked_outline
from fastmrcnn.data.readers.source import Source
from fastmrcnn.data.readers.values import kind_of
from fastmrcnn.errors import UserError, first_line
from fastmrcnn.files import read_text

SPLITS = ("train", "val", "test")


def is_yolo(source: Source) -> bool:
    """Whether ``source`` is a YAML file, or a folder with one."""
    return _yaml_file(source) is not None


def read_yolo(source: Source) -> Annotations:
    """Read the split of a data set that its YAML file describes; an image without a label file has no objects.

    Raises:
        UserError: naming the YAML file and the key, or the label file and the line; labels of no image.
    """
    file = _yaml_file(source)
    if file is None:
        raise UserError(f"{source.path}: expected a YAML file of a YOLO data set, or a folder with one; found none")
    document = _read_yaml(file)
    categories = _read_names(file, document)
    document.setdefault("val", document.get("validation"))  # the other name that the format knows
    places = source.choose_split({split: document[split] for split in SPLITS if document.get(split)})
    paths = [path for place in _as_list(places) for path in _find_images(source, file, document, place)]
    if not paths:
        raise UserError(f"{file}: expected images in {source.split} ({places}); found none")
    images: dict[int, ImageRecord] = {}
    objects: dict[int, list[ObjectRecord]] = {}
    for number, path in enumerate(paths, 1):
        with source.part(file, str(path)):
            images[number] = image = image_record(str(file), number, Path(), str(path))
            objects[number] = []  # stays so where the whole label file cannot be read
            objects[number] = _read_labels(source, _label_path(path), image, categories)
    if not any(str(place).lower().endswith(".txt") for place in _as_list(places)):  # a list may leave images out
        _refuse_labels_without_image(source, paths)
    return Annotations(str(file), Path(), categories, images, objects)


def _yaml_file(source: Source) -> Path | None:
    if source.path.is_file():
        return source.path if source.path.suffix.lower() in (".yaml", ".yml") else None
    found = sorted([*source.path.glob("*.yaml"), *source.path.glob("*.yml")])
    return found[0] if len(found) == 1 else None


def _read_yaml(file: Path) -> dict[str, Any]:
    text = read_text(file, expected="YAML")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: expected YAML; {first_line(error)}") from None
    if not isinstance(document, dict):
        raise UserError(f"{file}: expected YAML with names and splits; got {kind_of(document)}")
    return document


def _read_names(file: Path, document: dict[str, Any]) -> dict[int, str]:
    names = document.get("names")
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not numbered:
        raise UserError(f"{file}: expected names, a list or an object of them by number; got {kind_of(names)}")
    if not all(isinstance(number, int) and number >= 0 for number in numbered):
        raise UserError(f"{file}: expected names by whole numbers; got {', '.join(map(str, numbered))}")
    labels = {number: str(numbered[number]) for number in sorted(numbered)}
    twice = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    if twice:
        raise UserError(f"{file}: the name '{twice[0]}' appears twice; expected unique names")
    return labels


def _find_images(source: Source, file: Path, document: dict[str, Any], place: Any) -> list[Path]:
    """The images of a folder, or of a text file that lists them."""
    path = _resolve(source, file, document, str(place))
    if path.suffix.lower() == ".txt" and path.is_file():
        lines = [line.strip() for line in read_text(path, expected="a list of images").splitlines()]
        return [path.parent / line if line.startswith("./") else _beside(path.parent, line) for line in lines if line]
    found = list_images(path)
    for folder in sorted(child for child in path.rglob("*") if child.is_dir()):
        found += list_images(folder)
    return found


def _resolve(source: Source, file: Path, document: dict[str, Any], place: str) -> Path:
    """Where a split lies: relative to the folder of images that the user names, to ``path``, or to the YAML file.

    Exporters write ``../train/images`` for a folder that lies beside the YAML file.
    """
    roots = [source.images] if source.images else [file.parent / str(document.get("path") or ""), file.parent]
    for root in roots:
        for name in (place, place.removeprefix("../")):
            if os.path.exists(root / name):
                return root / name
    looked = " or ".join(str(root / place) for root in dict.fromkeys(roots))
    raise UserError(f"{file}: there is no folder of images {looked}")


def _beside(folder: Path, line: str) -> Path:
    """A line of a list of images: as it stands, or relative to the list."""
    return Path(line) if Path(line).is_file() else folder / line


def _label_path(image: Path) -> Path:
    """The last folder ``images`` of the path becomes ``labels``; without one the labels lie beside the image."""
    parts = list(image.parts[:-1])
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts, f"{image.stem}.txt")


def _read_labels(source: Source, file: Path, image: ImageRecord, categories: dict[int, str]) -> list[ObjectRecord]:
    found: list[ObjectRecord] = []
    if not file.is_file():
        return found
    for number, line in enumerate(read_text(file, expected="labels of YOLO").splitlines(), 1):
        if line.strip():
            with source.part(file, image.file_name, number):
                found.append(_read_line(f"{file}: line {number}", number, line, image, categories, source.shift))
    return found


def _read_line(
    where: str, number: int, line: str, image: ImageRecord, categories: dict[int, str], shift: int
) -> ObjectRecord:
    try:
        label, *shares = map(float, line.split())
    except ValueError:
        raise UserError(f"{where}: expected numbers; got {line.strip()!r:.60}") from None
    label += shift
    if label not in categories:
        message = f"{where}: expected a class within {min(categories)}..{max(categories)}; got {label:g}"
        raise UnknownCategory(message, int(label)) if label.is_integer() else UserError(message)
    if len(shares) == 4:
        raise UserError(f"{where}: expected the outline of an object; got a box: this is a data set without masks")
    if not all(-0.01 <= share <= 1.01 for share in shares):  # a little beyond is a rounding; NaN fails
        wrong = next(share for share in shares if not -0.01 <= share <= 1.01)
        raise UserError(f"{where}: expected coordinates as fractions of the image's sides, 0..1; got {wrong:g}")
    outline = [share * side for share, side in zip(shares, [image.width, image.height] * len(shares), strict=False)]
    return ObjectRecord(number, int(label), checked_outline(where, outline, image))


def _refuse_labels_without_image(source: Source, images: list[Path]) -> None:
    """A mistake in a name would lose objects without a word."""
    known = {_label_path(image) for image in images}
    for folder in sorted({file.parent for file in known}):
        for file in sorted(folder.glob("*.txt")):
            if file not in known and _holds_labels(file):
                with source.part(file):
                    raise MissingImage(f"{file}: there is no image of these labels")


def _holds_labels(file: Path) -> bool:
    """Whether a text file begins like labels; exporters put lists of classes and notes beside them."""
    try:
        lines = read_text(file, expected="labels of YOLO").split("\n")
        return len([float(value) for value in next(filter(str.strip, lines), "").split()]) >= 5
    except ValueError:  # of which a UserError is one
        return False


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
