"""Pascal VOC's segmentation masks.

Source: the development kit of VOC2012, section 5. ``SegmentationObject/NAME.png`` numbers the objects of
``JPEGImages/NAME.jpg``, ``SegmentationClass/NAME.png`` says of which class each pixel is, and
``ImageSets/Segmentation/SPLIT.txt`` lists names. 0 is background, 255 is void: borders and what nobody could tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord, ObjectsOnDemand
from fastmrcnn.data.readers.images import image_record, images_by_stem
from fastmrcnn.data.readers.label_images import Colours, read_labels, run_lengths_by_label
from fastmrcnn.data.readers.source import Source
from fastmrcnn.errors import UserError
from fastmrcnn.files import read_text

OBJECTS, CLASSES, IMAGES, LISTS = "SegmentationObject", "SegmentationClass", "JPEGImages", "ImageSets/Segmentation"
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
CLASS_FILES = ("labelmap.txt", "class_names.txt", "labels.txt")
"""Where exporters write the names of other classes: by index, one a line; colours may follow a colon."""

_VOID = 255
_VOID_COLOUR = (224, 224, 192)
_NO_CLASS = {"background": 0, "_background_": 0, "__ignore__": _VOID}


def is_voc(source: Source) -> bool:
    """Whether ``source`` is a folder with object masks, or a list of names within one."""
    return _root(source) is not None


def read_voc(source: Source) -> Annotations:
    """Read the images of a list, or of the split of a folder; the classes are VOC's own where no file names others.

    Where that file gives every class a colour of its own, these are the colours of ``SegmentationClass``.

    Raises:
        UserError: naming the list, the mask or the class file. When a sample is read: a mask that does not decode, of
            another size, or an object of several classes or of an unknown one.
    """
    root = _root(source)
    if root is None:
        raise UserError(f"{source.path}: expected a folder of VOC or a list in its {LISTS}; found no {OBJECTS}")
    if source.path.is_file():
        chosen = source.path
    else:
        chosen = source.choose_split({file.stem: file for file in sorted((root / LISTS).glob("*.txt"))})
    folder = source.images or root / IMAGES
    known = images_by_stem(folder)
    images: dict[int, ImageRecord] = {}
    masks: dict[int, _Masks] = {}
    for line, name in enumerate(read_text(chosen, expected="a list of names").split(), 1):
        where, file_name = f"{chosen}: line {line}", known.get(name, f"{name}.jpg")
        with source.part(chosen, file_name):
            image = image_record(where, line, folder, file_name)
            found = _Masks(image, root / OBJECTS / f"{name}.png", root / CLASSES / f"{name}.png")
            for path in (found.objects, found.classes):
                if not path.is_file():
                    raise UserError(f"{where}: there is no mask {path}")
            images[line], masks[line] = image, found
    categories, colours = _read_classes(root)
    objects = ObjectsOnDemand(masks, partial(_read, source, categories, colours))
    return Annotations(str(source.path), folder, categories, images, objects)


@dataclass(frozen=True)
class _Masks:
    image: ImageRecord
    objects: Path
    classes: Path


def _root(source: Source) -> Path | None:
    candidates = [source.path, *source.path.parents[:3]] if source.path.is_file() else [source.path]
    return next((folder for folder in candidates if (folder / OBJECTS).is_dir()), None)


def _read_classes(root: Path) -> tuple[dict[int, str], Colours | None]:
    """The names by index, and the colours where they are not VOC's own."""
    for file in (root / name for name in CLASS_FILES):
        if file.is_file():
            text = read_text(file, expected="names of classes")
            lines = [line.split(":") for line in text.splitlines() if line.strip() and not line.startswith("#")]
            names = [name for name in (line[0].strip() for line in lines) if name not in _NO_CLASS]
            if len(set(names)) != len(names) or not names:
                raise UserError(f"{file}: expected distinct names of classes; got {', '.join(names) or 'none'}")
            return dict(enumerate(names, 1)), _read_colours(file, lines, names)
    return dict(enumerate(VOC_CLASSES, 1)), None


def _read_colours(file: Path, lines: list[list[str]], names: list[str]) -> Colours | None:
    """The colours of ``name:red,green,blue:...`` by index; None where classes lack one or share it."""
    colour_of = {line[0].strip(): _colour(line[1]) for line in lines if len(line) > 1}
    number_of = {(0, 0, 0): 0, _VOID_COLOUR: _VOID}
    index_of = {name: number for number, name in enumerate(names, 1)} | _NO_CLASS
    number_of |= {colour: index_of[name] for name, colour in colour_of.items() if colour is not None}
    return Colours(number_of, str(file)) if set(number_of.values()) >= set(range(1, len(names) + 1)) else None


def _colour(text: str) -> tuple[int, int, int] | None:
    numbers = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 and max(numbers) < 256 else None


def _read(source: Source, categories: dict[int, str], colours: Colours | None, masks: _Masks) -> list[ObjectRecord]:
    objects, classes = read_labels(masks.objects, masks.image), read_labels(masks.classes, masks.image, colours)
    found = []
    for number, rle in run_lengths_by_label(objects).items():
        if number in (0, _VOID):
            continue
        with source.part(masks.objects, masks.image.file_name, number):
            labels = set(np.unique(classes[objects == number]).tolist()) - {_VOID}
            if len(labels) != 1 or not labels <= categories.keys():
                got = ", ".join(str(label) for label in sorted(labels)) or "void alone"
                expected = f"one class of 1..{max(categories)} in {masks.classes}"
                raise UserError(f"{masks.objects}: object {number}: expected {expected}; got {got}")
            found.append(ObjectRecord(number, labels.pop(), rle))
    return found
