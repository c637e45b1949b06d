"""Which image files a list of files, folders and globs means."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from fastmrcnn.errors import UserError
from fastmrcnn.structures.images import IMAGE_SUFFIXES


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that compares digits as numbers, so that ``image2`` comes before ``image10``.

    >>> sorted(["image10.png", "image2.png"], key=natural_key)
    ['image2.png', 'image10.png']
    """
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part]


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """Image files of ``sources`` in their order; the files of a folder or glob in natural order, none twice.

    A folder stands for the images directly in it (by suffix, see ``IMAGE_SUFFIXES``), a glob (``*``, ``?``, ``[..]``,
    ``**`` for any depth) for the images that match, a file for itself whatever its name. Nothing is opened.

    Raises ``UserError`` for a file that does not exist and for a folder or a glob without images.
    """
    found: dict[Path, None] = {}
    for source in sources:
        found.update(dict.fromkeys(_expand(str(source))))
    if not found:
        raise UserError("images: expected at least one file, folder or glob; got none")
    return list(found)


def _expand(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return _images_among(path.iterdir(), source, "folder")
    if path.exists():  # before the glob: a file may have brackets in its name
        return [path]
    if glob.has_magic(source):
        return _images_among(map(Path, glob.iglob(source, recursive=True)), source, "glob")
    raise UserError(f"{source}: expected an image file, a folder or a glob; there is no such file")


def _images_among(candidates: Iterable[Path], source: str, kind: str) -> list[Path]:
    images = [path for path in candidates if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not images:
        raise UserError(f"{source}: expected a {kind} with images ({' '.join(IMAGE_SUFFIXES)}); found none")
    return sorted(images, key=lambda path: natural_key(str(path)))
