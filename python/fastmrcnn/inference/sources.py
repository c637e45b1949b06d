"""Which image files a list of files, folders, globs and lists means."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastmrcnn.errors import UserError
from fastmrcnn.files import read_text
from fastmrcnn.structures.images import IMAGE_SUFFIXES


def natural_key(text: str) -> tuple[str, str]:
    """Sort key that compares digits as numbers, so that ``image2`` comes before ``image10``; no two texts share it.

    >>> sorted(["image10.png", "image2.png"], key=natural_key)
    ['image2.png', 'image10.png']
    """
    key = re.sub(r"\d+", lambda digits: f"\0{len(digits[0].lstrip('0')):04}{digits[0].lstrip('0')}", text.casefold())
    return key, text


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """Image files of ``sources`` in their order; the files of a folder or glob in natural order, none twice.

    A folder stands for the images directly in it (by suffix, see ``IMAGE_SUFFIXES``), a glob (``*``, ``?``, ``[..]``,
    ``**`` for any depth) for the images that match, a text file (``.txt``) for those that its lines name, relative to
    its folder, and any other file for itself whatever its name. Folders and globs have no hidden files. Nothing else
    is opened.

    Raises ``UserError`` for a file that does not exist and for a folder, a glob or a list without images.
    """
    return [Path(path) for path in image_files(sources)]


def image_files(sources: Iterable[str | Path], *, without: Iterable[Path] = ()) -> list[str]:
    """:func:`find_images` as text, a tenth of the memory where there are millions.

    without: files that folders and globs do not stand for, though they are there; to name one is a ``UserError``.
    """
    identity = Identity()
    left_out = {identity(str(path)) for path in without}
    taken: set[str] = set()
    found = []
    for source in map(str, sources):
        chosen = [path for path in _expand(source) if identity(path) not in left_out]
        if not chosen:
            raise UserError(f"{source}: expected images; found results of an earlier run, which this one replaces")
        for path in chosen:
            if (entry := identity(path)) not in taken:
                taken.add(entry)
                found.append(path)
    if not found:
        raise UserError("images: expected at least one file, folder or glob; got none")
    return found


def candidates(source: str) -> Iterator[str]:
    """What is in a folder, or matches a glob, in no order; a file is neither, and hidden ones are left out."""
    if os.path.isdir(source):
        return (os.path.join(source, name) for name in os.listdir(source) if not name.startswith("."))
    return _matches(source) if glob.has_magic(source) and not os.path.exists(source) else iter(())


class Identity:
    """What is the same for all ways to a file. A link to a file is one of its own."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}  # of each folder

    def __call__(self, path: str) -> str:
        folder, name = os.path.split(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name)


def _expand(source: str) -> list[str]:
    path = Path(source)
    if not source:
        raise UserError("images: expected a file, a folder or a glob; got an empty name")
    if path.is_dir():
        return _images_among(candidates(source), source, "folder")
    if path.exists():  # before the glob: a file may have brackets in its name
        return _listed(path) if path.suffix.lower() == ".txt" else [str(path)]
    if glob.has_magic(source):
        return _images_among(candidates(source), source, "glob")
    raise UserError(f"{source}: expected an image file, a folder or a glob; there is no such file")


def _images_among(found: Iterable[str], source: str, kind: str) -> list[str]:
    paths = (str(Path(path)) for path in found if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES)
    images = [path for path in paths if os.path.isfile(path)]
    if not images:
        raise UserError(f"{source}: expected a {kind} with images ({' '.join(IMAGE_SUFFIXES)}); found none")
    return sorted(images, key=natural_key)


def _listed(path: Path) -> list[str]:
    """The image files that a list names, one on each line."""
    lines = read_text(path, expected="a list of images").split("\n")
    named = {number: str(path.parent / line.strip()) for number, line in enumerate(lines, 1) if line.strip()}
    for number, image in named.items():
        if not os.path.isfile(image):
            raise UserError(f"{path}, line {number}: expected an image file; there is no {image}")
    if not named:
        raise UserError(f"{path}: expected a list of images, one on each line; it is empty")
    return list(named.values())


def _matches(pattern: str) -> Iterator[str]:
    """``glob.iglob``, but ``**`` enters no folder twice: links may lead in circles, and ever deeper."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    deep = parts.index("**")
    above, below = os.sep.join(parts[:deep]), os.sep.join(parts[deep + 1 :])
    for top in glob.iglob(above) if glob.has_magic(above) else [above or (os.sep if deep else os.curdir)]:
        for folder in _folders_from(top):
            yield from _matches(os.path.join(glob.escape(folder), below or "*"))


def _folders_from(top: str) -> Iterator[str]:
    """A folder and all below it, hidden ones left out, links followed, each once."""
    entered = set()
    for folder, below, _ in os.walk(top, followlinks=True):
        where = os.path.realpath(folder)
        if where in entered:
            below.clear()
            continue
        entered.add(where)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield folder
