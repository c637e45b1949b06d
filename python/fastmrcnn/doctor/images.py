"""The images of a split, each decoded once: whether they can be read, what they look like, and their objects."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.data.annotations import Annotations, ImageRecord
from fastmrcnn.data.readers.images import is_image
from fastmrcnn.doctor.objects import Measured, examine_objects
from fastmrcnn.doctor.problem import (
    INVALID_MASK_FILE,
    LEFT_OUT,
    MISSING_IMAGE,
    UNDECODABLE_IMAGE,
    UNLISTED_IMAGE,
    Findings,
)
from fastmrcnn.doctor.sizes import Settled, settle_size
from fastmrcnn.errors import UserError
from fastmrcnn.structures import RGB, PixelFormat, read_image
from fastmrcnn.structures.images import read_image_size

THUMBNAIL = 16  # pixels a side
_WINDOW = 64  # images under way for each thread: memory stays bounded for any number of images
_NOTHING = Measured([], np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class ExaminedImage:
    """One image of a split.

    Attributes:
        record: with the name that the file has.
        sound: whether it can be trained on.
        measured: its sound objects.
        pixels: a digest of the decoded pixels; of the bytes of the file in ``content``. Empty where not decoded.
        thumbnail: uint8 [16, 16], grey; None where not decoded.
        findings: the problems of this image.
        as_stored: its objects are those of the pixels as they are stored, which the EXIF orientation turns.
    """

    record: ImageRecord
    sound: bool
    findings: Findings
    measured: Measured = _NOTHING
    pixels: bytes = b""
    content: bytes = b""
    thumbnail: NDArray[np.uint8] | None = field(default=None, repr=False)
    as_stored: bool = False


def examine_images(
    content: Annotations,
    findings: Findings,
    *,
    pixel_format: PixelFormat = RGB,
    decode: bool = True,
    workers: int = 0,
) -> Iterator[ExaminedImage]:
    """Examine every image, in the order of the data set, on ``workers`` threads (0: one a processor, at most 8)."""
    places = _Places(content)
    threads = workers or min(os.cpu_count() or 1, 8)

    def examine(record: ImageRecord) -> ExaminedImage:
        own = Findings(findings.split, findings.file)
        return _examine(record, content, places, own, pixel_format if decode else None)

    records = iter(content.images.values())
    with ThreadPoolExecutor(threads) as pool:  # Pillow, hashes and the rasteriser run without the GIL
        while window := list(islice(records, threads * _WINDOW)):
            yield from pool.map(examine, window)


def find_unlisted(splits: Sequence[tuple[Annotations, Findings]]) -> None:
    """Note image files in the folders of the listed ones that no split speaks of: splits often share a folder."""
    listed = [
        {os.path.normpath(content.folder / record.file_name) for record in content.images.values()}
        for content, _ in splits
    ]
    known = set().union(*listed)
    for (_, findings), names in zip(splits, listed, strict=True):
        for folder in sorted({Path(name).parent for name in names if os.path.isfile(name)}):
            for path in sorted(folder.iterdir()):
                name = os.path.normpath(path)
                if is_image(path) and name not in known:
                    known.add(name)  # and so is noted once
                    findings.add(UNLISTED_IMAGE, "no annotation speaks of this image", image=str(path))


class _Places:
    """Where the files of the folder are, for names that do not lead to one; walked when the first is missing."""

    def __init__(self, content: Annotations) -> None:
        self.folder = content.folder
        self._listed = Counter(_plain_name(record.file_name) for record in content.images.values())
        self._found: dict[str, list[str]] | None = None

    def likely(self, name: str) -> list[str]:
        """Files of this name in whatever folder and spelling; none where other images have the name too."""
        if self._found is None:
            found: dict[str, list[str]] = {}
            for path in sorted(self.folder.rglob("*")) if self.folder != Path() else []:
                found.setdefault(_plain_name(path.name), []).append(path.relative_to(self.folder).as_posix())
            self._found = found
        return self._found.get(_plain_name(name), []) if self._listed[_plain_name(name)] == 1 else []


def _plain_name(name: str) -> str:
    """The last part of a path or URL, in lower case, its accents composed as most systems write them."""
    return unicodedata.normalize("NFC", PureWindowsPath(unquote(name)).name).lower()


def _examine(
    record: ImageRecord, content: Annotations, places: _Places, findings: Findings, pixel_format: PixelFormat | None
) -> ExaminedImage:
    """One image, decoded to ``pixel_format``; None looks at its head alone."""
    where = {"image": record.file_name}
    if not os.path.isfile(content.folder / record.file_name):  # false for a name that no file can have
        likely = places.likely(record.file_name)
        hint = f"; {likely[0]} has that name" if likely else ""
        text = f"image {record.id}: there is no file {content.folder / record.file_name}{hint}"
        if len(likely) != 1:
            findings.add(MISSING_IMAGE, text, **where, repair=LEFT_OUT)
            return ExaminedImage(record, False, findings)
        findings.add(MISSING_IMAGE, text, **where, repair=f"file_name set to {likely[0]}")
        record = replace(record, file_name=likely[0])
    path = content.folder / record.file_name
    try:
        pixels = None if pixel_format is None else read_image(path, pixel_format)
        size = read_image_size(path) if pixels is None else (pixels.shape[-2], pixels.shape[-1])
    except UserError as error:
        findings.add(UNDECODABLE_IMAGE, f"image {record.id}: {error}", **where, repair=LEFT_OUT)
        return ExaminedImage(record, False, findings)
    settled: Settled | None = Settled(record)
    if size != (record.height, record.width):  # of COCO and LabelMe: other readers ask the files
        settled = settle_size(record, size, path, content.objects.get(record.id, ()), findings)
    if settled is None:
        return ExaminedImage(record, False, findings)
    record = settled.record
    measured = _NOTHING
    try:
        measured = examine_objects(record, content.objects.get(record.id, ()), findings, findings.file)
    except UserError as error:  # of formats that keep masks in image files, which are decoded here
        findings.add(INVALID_MASK_FILE, str(error), **where, repair="all objects of the image left out")
    if pixels is None:
        return ExaminedImage(record, True, findings, measured, as_stored=settled.as_stored)
    decoded = np.ascontiguousarray(pixels.numpy())
    digest = hashlib.blake2b(str(decoded.shape).encode(), digest_size=16)
    digest.update(decoded.data)
    content_digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    return ExaminedImage(
        record,
        True,
        findings,
        measured,
        pixels=digest.digest(),
        content=content_digest,
        thumbnail=_thumbnail(decoded),
        as_stored=settled.as_stored,
    )


def _thumbnail(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Mean grey values of the parts of an image [C, H, W], each from 64 pixels: all would take as long as decoding."""
    rows, columns = (np.linspace(0, side - 1, 8 * THUMBNAIL).round().astype(int) for side in pixels.shape[1:])
    grey = pixels[:, rows[:, None], columns].mean(axis=0) * (255.0 if pixels.dtype.kind == "f" else 1.0)
    small: NDArray[np.uint8] = grey.reshape(THUMBNAIL, 8, THUMBNAIL, 8).mean(axis=(1, 3)).round().astype(np.uint8)
    return small
