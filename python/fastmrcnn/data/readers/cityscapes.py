"""Instance images in the style of Cityscapes: 16-bit PNG files whose pixels are ``1000 * class + instance``.

Source: https://github.com/mcordts/cityscapesScripts, ``helpers/labels.py`` and ``preparation/json2instanceImg.py``. A
pixel below 1000 is a class alone: road, sky, or a group of objects that nobody told apart, which is a crowd here.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord, ObjectsOnDemand
from fastmrcnn.data.readers.images import image_record
from fastmrcnn.data.readers.label_images import read_labels, run_lengths_by_label
from fastmrcnn.data.readers.source import Source
from fastmrcnn.data.readers.values import kind_of
from fastmrcnn.errors import UserError
from fastmrcnn.files import read_json

CITYSCAPES_CLASSES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Those that the benchmark of Cityscapes counts."""

CLASS_FILE = "classes.json"
"""An object of names by class number, for data sets with other classes."""

_SUFFIX = "_instanceIds.png"
_ANNOTATION_FOLDERS = ("gtFine", "gtCoarse")
_IMAGES = "leftImg8bit"


def is_cityscapes(source: Source) -> bool:
    """Whether ``source`` is the root of Cityscapes or a folder with instance images."""
    return source.path.is_dir() and (_holds_splits(source.path) is not None or bool(_instance_images(source.path)))


def read_cityscapes(source: Source) -> Annotations:
    """Read the instance images of a folder, of its sub-folders, or of the split of a root with ``gtFine``.

    The image of ``gtFine/train/CITY/NAME_gtFine_instanceIds.png`` is ``leftImg8bit/train/CITY/NAME_leftImg8bit.png``;
    where a folder of images is named, it is ``NAME`` with or without these endings below that. Numbers without a name
    are left out: stuff, and what the benchmark ignores.

    Raises:
        UserError: naming the folder or the file. When a sample is read: an instance image that does not decode or has
            another size than its image.
    """
    annotations = _holds_splits(source.path)
    folder = source.path
    if annotations is not None:
        splits = {child.name: child for child in sorted(annotations.iterdir()) if child.is_dir()}
        folder = source.choose_split(splits)
    files = _instance_images(folder) or sorted(folder.glob("*.png"))
    if not files:
        raise UserError(f"{folder}: expected instance images (*{_SUFFIX}); found none")
    root = source.images or _images_of(folder)
    images: dict[int, ImageRecord] = {}
    labels: dict[int, tuple[Path, ImageRecord]] = {}
    for number, file in enumerate(files, 1):
        name = _image_name(file, folder, root)
        with source.part(file, name):
            images[number] = image = image_record(str(file), number, root, name)
            labels[number] = file, image
    categories = _read_classes(source.path)
    objects = ObjectsOnDemand(labels, partial(_read, frozenset(categories)))
    return Annotations(str(source.path), root, categories, images, objects)


def _holds_splits(folder: Path) -> Path | None:
    """The folder of the annotations, where ``folder`` is the root of Cityscapes."""
    return next((folder / name for name in _ANNOTATION_FOLDERS if (folder / name).is_dir()), None)


def _instance_images(folder: Path) -> list[Path]:
    """In the folder, or in the folders of the cities in it."""
    return sorted([*folder.glob(f"*{_SUFFIX}"), *folder.glob(f"*/*{_SUFFIX}")])


def _images_of(folder: Path) -> Path:
    """``.../gtFine/train`` -> ``.../leftImg8bit/train``; a folder outside such a tree holds the images too."""
    parts = list(folder.parts)
    for name in _ANNOTATION_FOLDERS:
        if name in parts:
            parts[len(parts) - 1 - parts[::-1].index(name)] = _IMAGES
            return Path(*parts)
    return folder


def _image_name(file: Path, folder: Path, root: Path) -> str:
    """The name of the image of an instance image, relative to ``root``; the likeliest one where there is none."""
    stem = file.name.removesuffix(_SUFFIX) if file.name.endswith(_SUFFIX) else file.stem
    for name in _ANNOTATION_FOLDERS:
        stem = stem.removesuffix(f"_{name}")
    place = file.parent.relative_to(folder)
    names = [f"{stem}_{_IMAGES}.png", *(f"{stem}{suffix}" for suffix in (".png", ".jpg", ".jpeg", ".tif", ".tiff"))]
    guesses = [place / name for name in names]
    return str(next((guess for guess in guesses if (root / guess).is_file() and root / guess != file), guesses[0]))


def _read_classes(folder: Path) -> dict[int, str]:
    """The names in a class file of the folder or of one above it, else those of Cityscapes."""
    for place in (folder, *folder.parents[:3]):
        file = place / CLASS_FILE
        if file.is_file():
            document = read_json(file, expected="names of classes by their numbers")
            if not isinstance(document, dict) or not all(key.isdecimal() for key in document) or not document:
                raise UserError(f"{file}: expected an object of names by class number; got {kind_of(document)}")
            names = {int(key): str(document[key]) for key in sorted(document, key=int)}
            if len(set(names.values())) != len(names):
                raise UserError(f"{file}: expected distinct names of classes; got {', '.join(names.values())}")
            return names
    return dict(CITYSCAPES_CLASSES)


def _read(classes: frozenset[int], labels: tuple[Path, ImageRecord]) -> list[ObjectRecord]:
    found = []
    for number, rle in run_lengths_by_label(read_labels(*labels)).items():
        is_group = number < 1000
        category = number if is_group else number // 1000
        if category in classes:
            found.append(ObjectRecord(number, category, rle, iscrowd=is_group))
    return found
