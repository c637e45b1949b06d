"""The categories and images of a COCO file, as far as they are sound, with every problem noted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastmrcnn.data.annotations import ImageRecord
from fastmrcnn.data.readers.values import text_of, whole_of
from fastmrcnn.doctor.problem import (
    DUPLICATE_CATEGORY,
    DUPLICATE_FILE_NAME,
    DUPLICATE_IMAGE_ID,
    INVALID_CATEGORY,
    INVALID_IMAGE,
    LEFT_OUT,
    Findings,
)
from fastmrcnn.errors import UserError
from fastmrcnn.structures.images import read_image_size

Value = TypeVar("Value")
Entry = dict[str, Any]


@dataclass
class Table:
    """The sound entries of a list of the file, by id.

    Attributes:
        entries: as they are in the file.
        same_as: the ids that stand for another entry, which is the same thing.
        lost: the ids whose entry is left out.
    """

    entries: dict[int, Entry] = field(default_factory=dict)
    same_as: dict[int, int] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)


def tried(read: Callable[[str, Any, str], Value], entry: Any, key: str) -> tuple[Value | None, str]:
    """``entry[key]``, or None and what is wrong with it."""
    try:
        return read("", entry, key), ""
    except UserError as error:
        return None, str(error).removeprefix(": ")


def read_categories(entries: list[Any], findings: Findings) -> tuple[dict[int, str], Table]:
    """Names by id, in order of the ids."""
    names: dict[int, str] = {}
    id_of: dict[str, int] = {}
    table = Table()
    for position, entry in enumerate(entries):
        identifier, problem = tried(whole_of, entry, "id")
        name, name_problem = tried(text_of, entry, "name") if identifier is not None else (None, "")
        if identifier is None or name is None:
            place = f"category at position {position}" if identifier is None else f"category {identifier}"
            findings.add(INVALID_CATEGORY, f"{place}: {problem or name_problem}", repair=LEFT_OUT)
            if identifier is not None:
                table.lost.add(identifier)
        elif identifier in names:
            text = f"category id {identifier} is that of '{names[identifier]}' and of '{name}'"
            findings.add(DUPLICATE_CATEGORY, text, repair=f"'{name}' left out")
        elif name in id_of:
            text = f"category name '{name}' has the ids {id_of[name]} and {identifier}"
            findings.add(DUPLICATE_CATEGORY, text, repair=f"joined under the id {id_of[name]}")
            table.same_as[identifier] = id_of[name]
        else:
            names[identifier], id_of[name], table.entries[identifier] = name, identifier, entry
    return dict(sorted(names.items())), table


def read_images(entries: list[Any], folder: Path, findings: Findings) -> tuple[dict[int, ImageRecord], Table]:
    """Records by id, in the order of the file."""
    images: dict[int, ImageRecord] = {}
    id_of: dict[str, int] = {}  # file name -> id
    table = Table()
    for position, entry in enumerate(entries):
        identifier, problem = tried(whole_of, entry, "id")
        if identifier is None:
            findings.add(INVALID_IMAGE, f"image at position {position}: {problem}", repair=LEFT_OUT)
            continue
        name, problem = tried(text_of, entry, "file_name")
        if name is None:
            findings.add(INVALID_IMAGE, f"image {identifier}: {problem}", repair=LEFT_OUT)
            table.lost.add(identifier)
        elif identifier in images:
            first = images[identifier].file_name
            text = f"image id {identifier} is that of '{first}' and of this image; the annotations go with the first"
            findings.add(DUPLICATE_IMAGE_ID, text, image=name, repair=LEFT_OUT)
        elif name in id_of:
            text = f"the file is image {id_of[name]} and image {identifier}"
            findings.add(DUPLICATE_FILE_NAME, text, image=name, repair=f"joined as image {id_of[name]}")
            table.same_as[identifier] = id_of[name]
        else:
            size = _read_size(identifier, entry, folder / name, findings)
            if size is None:
                table.lost.add(identifier)
            else:
                images[identifier] = ImageRecord(identifier, name, *size)
                id_of[name], table.entries[identifier] = identifier, entry
    table.lost -= images.keys()
    return images, table


def _read_size(identifier: int, entry: Entry, file: Path, findings: Findings) -> tuple[int, int] | None:
    """(height, width) of the entry, or of the file where the entry has none."""
    (height, problem), (width, width_problem) = tried(whole_of, entry, "height"), tried(whole_of, entry, "width")
    if height and width:
        return height, width
    text = problem or width_problem or f"expected height and width of at least 1; got {height} and {width}"
    try:
        size = read_image_size(file)
    except (UserError, ValueError):  # ValueError: a name that no file can have
        size = None
    repair = LEFT_OUT if size is None else f"{size[1]} x {size[0]} pixels, as the file has"
    findings.add(INVALID_IMAGE, f"image {identifier}: {text}", image=file.name, repair=repair)
    return size
