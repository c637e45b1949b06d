"""What is segmented: one picture after the other, each with its place among all and a name for its results."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from fastmrcnn.errors import UserError
from fastmrcnn.structures import RGB, ImagePage, PixelFormat, image_pages
from fastmrcnn.structures.tiff_files import SUFFIXES


@dataclass(frozen=True, slots=True)
class FrameOfVideo:
    """A frame of a video file, a camera or a stream."""

    # What messages and results say of the video.
    video: str
    # Of its results: no other video has it.
    name: str
    # From 1.
    number: int
    # Seconds since the video's beginning.
    time: float
    # Frames per second that are looked at, about.
    rate: float | None
    # When it was filmed, where that is now.
    captured: str | None


_WHOLE_FILE = -1  # in place of a page


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a run."""

    # Among all pictures of the run, from 0.
    place: int
    # A file, or a page of one of several pictures; of a frame, what its video is called.
    source: Path | ImagePage
    # Of its results: no other picture has it, not even in other letters' case. It has no suffix.
    name: str
    # None of an image.
    frame: FrameOfVideo | None = None

    @property
    def path(self) -> Path:
        """The file that it is in."""
        return self.source.path if isinstance(self.source, ImagePage) else self.source

    @property
    def page(self) -> int | None:
        """Its page, from 1; None where the file is one picture."""
        return self.source.frame + 1 if isinstance(self.source, ImagePage) else None

    @property
    def is_file(self) -> bool:
        """Whether the file is this picture and no other."""
        return self.page is None and self.frame is None

    @property
    def file_name(self) -> str:
        """What images.json says; all pages, or frames, of a file have the same."""
        return str(self.path) if self.frame is None else self.frame.video

    @property
    def within(self) -> dict[str, Any]:
        """What tells it from the others of its file: its page, or the number and the time of the frame."""
        if self.frame is None:
            return {} if self.page is None else {"page": self.page}
        captured = {} if self.frame.captured is None else {"date_captured": self.frame.captured}
        return {"frame": self.frame.number, "time": self.frame.time} | captured


class Pictures(Sequence[Picture]):
    """The pictures of a run in their order: little but the paths of files is kept, however many there are.

    >>> pictures = Pictures(["a/cat.jpg", "b/cat.jpg"])
    >>> [picture.name for picture in pictures]
    ['cat', 'cat-2']
    """

    def __init__(self, paths: Iterable[str], pixel_format: PixelFormat = RGB) -> None:
        """Of TIFF files every page is a picture, named like ``scan-p001``; they are opened to count them."""
        self._paths = list(paths)
        self._files, self._frames = array("q"), array("q")  # of each picture
        for number, path in enumerate(self._paths):
            for frame in _frames_of(path, pixel_format):
                self._files.append(number)
                self._frames.append(frame)
        self._renamed = numbered_names(self._own_name(place) for place in range(len(self)))

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, place: int) -> Picture: ...

    @overload
    def __getitem__(self, place: slice) -> list[Picture]: ...

    def __getitem__(self, place: int | slice) -> Picture | list[Picture]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        place = range(len(self))[place]
        path, frame = Path(self._paths[self._files[place]]), self._frames[place]
        source = path if frame == _WHOLE_FILE else ImagePage(path, frame)
        return Picture(place, source, self._renamed.get(place) or self._own_name(place))

    def _own_name(self, place: int) -> str:
        # Not by pathlib, which would put the parts of every path into Python's table of names.
        stem = os.path.splitext(os.path.basename(self._paths[self._files[place]]))[0]
        frame = self._frames[place]
        return stem if frame == _WHOLE_FILE else f"{stem}-p{frame + 1:03}"


def _frames_of(path: str, pixel_format: PixelFormat) -> list[int]:
    """The pages of a file of several pictures."""
    if os.path.splitext(path)[1].lower() not in SUFFIXES:
        return [_WHOLE_FILE]
    try:
        pages = image_pages(path, pixel_format)
    except UserError:  # which is said again when it is its turn to be read
        return [_WHOLE_FILE]
    return [_WHOLE_FILE] if len(pages) == 1 else [page.frame for page in pages]


def numbered_names(names: Iterable[str]) -> dict[int, str]:
    """The places of names that occurred before, and what they are called instead: ``cat-2``, ``cat-3``.

    Names differ in more than upper and lower case, for file systems that cannot tell these apart.
    """
    taken: set[str] = set()
    last: dict[str, int] = {}  # number of each name that occurred before
    renamed = {}
    for place, own in enumerate(names):
        name, key = own, own.casefold()
        while name.casefold() in taken:
            last[key] = last.get(key, 1) + 1
            name = renamed[place] = f"{own}-{last[key]}"
        taken.add(name.casefold())
    return renamed
