"""Images whose file has another size than the annotations say: which of the two the objects were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from fastmrcnn.data.annotations import ImageRecord, ObjectRecord
from fastmrcnn.doctor.objects import SLACK, reach_beyond
from fastmrcnn.doctor.problem import LEFT_OUT, WRONG_IMAGE_SIZE, Findings


@dataclass(frozen=True)
class Settled:
    """The size that the objects were drawn on; ``as_stored`` where that is the file's without its EXIF orientation."""

    record: ImageRecord
    as_stored: bool = False


def settle_size(
    record: ImageRecord, size: tuple[int, int], path: Path, objects: Sequence[ObjectRecord], findings: Findings
) -> Settled | None:
    """The record with the size that fits; None where nothing tells, and the image has to be left out.

    Args:
        record: as the annotations have it.
        size: (height, width) of the file, upright.
        path: the file.
        objects: of the image, before they are drawn.
        findings: a difference is noted there.
    """
    height, width = size
    of_file = replace(record, height=height, width=width)
    fits_record, fits_file = _fit(objects, record), _fit(objects, of_file)
    settled, repair = None, LEFT_OUT
    if fits_file and (not fits_record or not objects):
        settled, repair = Settled(of_file), f"{width} x {height} pixels, which the objects fit"
    elif fits_record and not fits_file and _stored_size(path) == (record.height, record.width):
        settled, repair = Settled(record, as_stored=True), "written as PNG without the EXIF orientation"
    text = f"the annotations say {record.width} x {record.height} pixels (width x height), the file has"
    swapped = (width, height) == (record.height, record.width)
    hint = " (swapped: perhaps by the EXIF orientation, which is applied when an image is read)" if swapped else ""
    text = f"image {record.id}: {text} {width} x {height}{hint}"
    findings.add(WRONG_IMAGE_SIZE, text, image=record.file_name, repair=repair)
    return settled


def _fit(objects: Sequence[ObjectRecord], image: ImageRecord) -> bool:
    return all(
        reach_beyond(item, image) <= SLACK
        if isinstance(item.segmentation, list)
        else item.segmentation["size"] == [image.height, image.width]
        for item in objects
    )


def _stored_size(path: Path) -> tuple[int, int] | None:
    """(height, width) before the EXIF orientation is applied; None of a file that Pillow does not read."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError):
        return None
