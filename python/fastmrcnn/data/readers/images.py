"""The images that annotations speak of."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fastmrcnn.data.annotations import ImageRecord
from fastmrcnn.data.mistakes import MissingImage, UndecodableImage
from fastmrcnn.errors import UserError
from fastmrcnn.structures.images import IMAGE_SUFFIXES, read_image_size


def image_record(where: str, identifier: int, folder: Path, name: str) -> ImageRecord:
    """The record of an image with the size that its file has; ``where`` names the annotation that speaks of it."""
    path = folder / name
    if not os.path.isfile(path):  # false for a name that no file can have, where pathlib raises
        raise MissingImage(f"{where}: there is no image {path}")
    try:
        height, width = read_image_size(path)
    except UserError as error:
        raise UndecodableImage(str(error)) from None
    return ImageRecord(identifier, name, height, width)


def images_by_stem(folder: Path) -> dict[str, str]:
    """File names of the images in a folder by their names without suffix, in order."""
    found: dict[str, str] = {}
    for path in list_images(folder):
        first = found.setdefault(path.stem, path.name)
        if first != path.name:
            raise UserError(f"{folder}: expected one image of each name; got {first} and {path.name}")
    return found


def list_images(folder: Path) -> list[Path]:
    """The image files in a folder, by name."""
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder of images; there is no such folder")
    return sorted(path for path in folder.iterdir() if is_image(path))


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix; hidden files are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def number_classes(names: Iterable[str]) -> dict[str, int]:
    """Category ids from 1 for class names, in the order of the alphabet."""
    return {name: number for number, name in enumerate(sorted(set(names)), 1)}
