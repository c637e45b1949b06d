"""Masks as image files, in the layouts that people use.

``masks/NAME/*.png`` beside ``images/NAME.*``: a file for each object, white where it is; the files may lie in a folder
for each class. ``masks/NAME.png``: the pixels number the objects, and 0 is background. ``NAME/images/*`` with
``NAME/masks/*.png``: the layout of the Data Science Bowl 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord, ObjectsOnDemand
from fastmrcnn.data.readers.images import image_record, images_by_stem, is_image, list_images, number_classes
from fastmrcnn.data.readers.label_images import read_bitmap, read_labels, run_lengths_by_label
from fastmrcnn.data.readers.source import Source
from fastmrcnn.errors import UserError

ONLY_CLASS = "object"
MASKS, IMAGES = "masks", "images"
_LOSSY = (".jpeg", ".jpg", ".webp")


@dataclass(frozen=True)
class _Masks:
    """The mask files of one image."""

    image: ImageRecord
    numbered: Path | None = None  # one file that numbers the objects
    separate: tuple[tuple[Path, str], ...] = ()  # or a file for each object, with its class


def is_mask_folder(source: Source) -> bool:
    """Whether ``source`` has ``masks``, or folders that have ``masks``, or is a folder of the masks of named images."""
    return (source.path / MASKS).is_dir() or any(source.path.glob(f"*/{MASKS}")) or _are_masks_of_images(source)


def _are_masks_of_images(source: Source) -> bool:
    """Whether a folder of images is named, and ``source`` is another with files or folders of the same names."""
    path, images = source.path, source.images
    if images is None or not images.is_dir() or not path.is_dir() or path.resolve() == images.resolve():
        return False
    names = {file.stem for file in images.iterdir() if is_image(file)}
    return any(
        (file.name if file.is_dir() else file.stem.removesuffix("_mask")) in names
        for file in path.iterdir()
        if file.is_dir() or is_image(file)
    )


def read_mask_folder(source: Source) -> Annotations:
    """Read a folder in one of the layouts of this module, or its ``masks`` alone where a folder of images is named.

    Images without masks have no objects.

    Raises:
        UserError: naming the folder or the file. When a sample is read: a mask that does not decode or has another size
            than its image.
    """
    path = source.path
    if any(path.glob(f"*/{MASKS}")):
        folder, places = path, _masks_of_folders(source)
    else:
        masks = path / MASKS if source.images is None or (path / MASKS).is_dir() else path
        if not masks.is_dir():
            raise UserError(f"{masks}: expected a folder of masks; there is no such folder")
        folder = source.images or masks.parent / IMAGES
        places = _masks_of_images(source, masks, images_by_stem(folder))
    if not places:
        raise UserError(f"{path}: expected images with masks; found none")
    images: dict[int, ImageRecord] = {}
    masks_of: dict[int, _Masks] = {}
    for number, (name, place) in enumerate(places.items(), 1):
        with source.part(path, name):
            image = image_record(str(path), number, folder, name)
            images[number], masks_of[number] = image, _list_masks(source, image, place)
    labels = {label for masks in masks_of.values() for _, label in masks.separate}
    if any(masks.numbered for masks in masks_of.values()) or not labels:
        labels.add(ONLY_CLASS)
    ids = number_classes(labels)
    categories = {number: label for label, number in ids.items()}
    return Annotations(str(path), folder, categories, images, ObjectsOnDemand(masks_of, partial(_read, source, ids)))


def _masks_of_folders(source: Source) -> dict[str, Path | None]:
    """``NAME/masks`` by the path of the image in ``NAME/images``, relative to the folder of both."""
    places: dict[str, Path | None] = {}
    for child in sorted(folder.parent for folder in source.path.glob(f"*/{MASKS}")):
        with source.part(child):
            found = list_images(child / IMAGES)
            if len(found) != 1:
                raise UserError(f"{child / IMAGES}: expected one image; found {len(found)}")
            places[str(found[0].relative_to(source.path))] = child / MASKS
    return places


def _masks_of_images(source: Source, folder: Path, images: dict[str, str]) -> dict[str, Path | None]:
    """``masks/NAME``, ``masks/NAME.png`` or ``masks/NAME_mask.png`` by the name of the image; None without either.

    Masks of no image are refused: a mistake in a name would lose objects without a word.
    """
    places: dict[str, Path | None] = dict.fromkeys(images.values())
    for path in sorted(folder.iterdir()):
        if is_image(path) or (path.is_dir() and not path.name.startswith(".")):
            stem = path.name if path.is_dir() else path.stem.removesuffix("_mask")
            with source.part(path):
                if stem not in images:
                    names = f"{', '.join(images)!s:.60}"
                    raise UserError(f"{path}: expected the masks of an image; none of {names} is {stem}")
                if places[images[stem]] is not None:
                    other = places[images[stem]]
                    raise UserError(f"{path}: expected one place for the masks of {stem}; {other} is another")
                places[images[stem]] = path
    return places


def _list_masks(source: Source, image: ImageRecord, place: Path | None) -> _Masks:
    if place is None:
        return _Masks(image)
    if place.is_file():
        return _Masks(image, numbered=_lossless(place))
    separate = [(path, ONLY_CLASS) for path in list_images(place)]
    for folder in sorted(child for child in place.iterdir() if child.is_dir() and not child.name.startswith(".")):
        separate += [(path, folder.name) for path in list_images(folder)]
    kept = []
    for path, label in separate:
        with source.part(path, image.file_name):
            kept.append((_lossless(path), label))
    return _Masks(image, separate=tuple(kept))


def _lossless(path: Path) -> Path:
    if path.suffix.lower() in _LOSSY:
        raise UserError(f"{path}: expected a mask as PNG or TIFF; a {path.suffix} file does not keep its pixels")
    return path


def _read(source: Source, ids: dict[str, int], masks: _Masks) -> list[ObjectRecord]:
    if masks.numbered is not None:
        runs = run_lengths_by_label(read_labels(masks.numbered, masks.image))
        return [ObjectRecord(number, ids[ONLY_CLASS], rle) for number, rle in runs.items() if number]
    found = []
    for number, (path, label) in enumerate(masks.separate):
        with source.part(path, masks.image.file_name, number):
            rle = run_lengths_by_label(read_bitmap(path, masks.image)).get(1)
            if rle is not None:  # a file without a white pixel is an object that was erased
                found.append(ObjectRecord(number, ids[label], rle))
    return found
