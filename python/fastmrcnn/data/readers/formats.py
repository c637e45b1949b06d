"""The formats that data sets are read from, and which one a path has."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from fastmrcnn.data.annotations import Annotations
from fastmrcnn.data.readers.cityscapes import is_cityscapes, read_cityscapes
from fastmrcnn.data.readers.coco import is_coco, read_coco
from fastmrcnn.data.readers.labelme import is_labelme, read_labelme
from fastmrcnn.data.readers.mask_folder import is_mask_folder, read_mask_folder
from fastmrcnn.data.readers.source import Source
from fastmrcnn.data.readers.via import is_via, read_via
from fastmrcnn.data.readers.voc import is_voc, read_voc
from fastmrcnn.data.readers.yolo import is_yolo, read_yolo
from fastmrcnn.errors import UserError

DataFormat = Literal["coco", "via", "labelme", "yolo", "voc", "cityscapes", "masks"]


@dataclass(frozen=True)
class _Format:
    recognises: Callable[[Source], bool]
    read: Callable[[Source], Annotations]


# In the order in which they are tried.
_FORMATS: dict[DataFormat, _Format] = {
    "coco": _Format(is_coco, read_coco),
    "via": _Format(is_via, read_via),
    "labelme": _Format(is_labelme, read_labelme),
    "voc": _Format(is_voc, read_voc),
    "cityscapes": _Format(is_cityscapes, read_cityscapes),
    "yolo": _Format(is_yolo, read_yolo),
    "masks": _Format(is_mask_folder, read_mask_folder),
}


def read_annotations(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    format: DataFormat | None = None,
    split: str | None = None,
) -> Annotations:
    """Read the annotations of a data set.

    Args:
        path: a file or a folder, see the modules of this package for each format. A folder with one JSON file of COCO
            or VIA stands for that file.
        images: the folder that the names of the images are relative to; the default is where the format has them, which
            is beside the file for COCO, VIA and LabelMe.
        format: the format; the default is the one that ``path`` looks like.
        split: the part to read where one path holds several: of a YAML file of YOLO, of the root folders of Pascal VOC
            and Cityscapes. Otherwise the path says it all.

    Raises:
        UserError: no such path or format, and every mistake in the annotations.
    """
    source, found = find_format(Source(Path(path), None if images is None else Path(images), split), format)
    return read_as(source, found)


def find_format(source: Source, format: DataFormat | None = None) -> tuple[Source, DataFormat]:
    """The format of ``source`` where none is named, and the file that stands for a folder with that file alone."""
    if not source.path.exists():
        raise UserError(f"{source.path}: expected a file or a folder of annotations; there is none")
    source = _with_its_json(source, format)
    return source, format or _find_format(source)


def read_as(source: Source, format: DataFormat) -> Annotations:
    """Read ``source`` in a format; tolerantly, where the source collects what is skipped."""
    return _FORMATS[format].read(source)


def _find_format(source: Source) -> DataFormat:
    for name, known in _FORMATS.items():
        if known.recognises(source):
            return name
    raise UserError(
        f"{source.path}: expected a data set in one of the formats {', '.join(get_args(DataFormat))}; "
        "it looks like none of them (--data-format names one, to be told what is missing)"
    )


def _with_its_json(source: Source, format: DataFormat | None) -> Source:
    """The one JSON file of COCO or VIA in a folder, in place of the folder."""
    if not source.path.is_dir() or format not in (None, "coco", "via"):
        return source
    files = list(source.path.glob("*.json"))
    if len(files) != 1:
        return source
    file = replace(source, path=files[0])
    return file if format is not None or is_coco(file) or is_via(file) else source
