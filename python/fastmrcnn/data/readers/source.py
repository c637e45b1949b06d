"""What the user names as a data set, as all readers get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fastmrcnn.errors import UserError
from fastmrcnn.files import read_json


@dataclass(frozen=True)
class Skipped:
    """A part of a data set that a tolerant reader left out, and why."""

    error: UserError
    file: str  # that holds the annotation
    image: str = ""  # its file name
    annotation: int | str | None = None  # its number or id; None where the mistake is about the image


@dataclass(frozen=True)
class Source:
    """A file or a folder with annotations.

    Attributes:
        path: of the annotations.
        images: the folder that the names of the images are relative to; None is where the format has them.
        split: the part to read of a data set that keeps several under one path; others know no splits.
        skipped: None makes any mistake end the reading. A list makes it tolerant: an image or an object with a mistake
            is left out, and the mistake is appended.
        shift: added to the class numbers of labels that are all one too low or too high (YOLO's).
    """

    path: Path
    images: Path | None = None
    split: str | None = None
    skipped: list[Skipped] | None = None
    shift: int = 0

    @contextmanager
    def part(self, file: str | Path, image: str = "", annotation: int | str | None = None) -> Iterator[None]:
        """The reading of one image or object: a mistake in it leaves out just that where the reading is tolerant."""
        try:
            yield
        except UserError as error:
            if self.skipped is None:
                raise
            self.skipped.append(Skipped(error, str(file), image, annotation))

    @property
    def folder(self) -> Path:
        """``path`` itself, or the folder that it is in."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def document(self) -> Any:
        """The JSON in the file ``path``, parsed once for telling the format and for reading it."""
        return read_json(self.path, expected="a JSON file with annotations")

    @property
    def is_json(self) -> bool:
        """Whether ``path`` is a file that should hold JSON."""
        return self.path.suffix.lower() == ".json" and not self.path.is_dir()

    def choose_split(self, found: dict[str, Any]) -> Any:
        """That of ``found`` which ``split`` names."""
        if self.split not in found:
            expected = ", ".join(found) or "none at all"
            raise UserError(f"{self.path}: expected the name of one of its splits ({expected}); got {self.split}")
        return found[self.split]
