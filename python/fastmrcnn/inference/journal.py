"""What a run has finished, so that the same command goes on after an interruption and repeats none of it.

A process notes each window of pictures when all that its outputs wrote about it is in files. What is killed between
two notes is written again: files of pictures by their names, lines in parts behind the size that was noted last.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastmrcnn.errors import UserError
from fastmrcnn.files import GrowingFile
from fastmrcnn.inference.outputs.parts import Parts, part_path
from fastmrcnn.inference.pictures import Picture, Pictures


@dataclass
class Share:
    """What one process has done, or several together."""

    # Pictures that were segmented.
    images: int = 0
    # Instances in all of them.
    detections: int = 0
    # One line per picture that did not decode, by its place among all.
    broken: dict[int, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Pictures that are done, broken ones included."""
        return self.images + len(self.broken)

    def add(self, other: Share) -> None:
        self.images += other.images
        self.detections += other.detections
        self.broken |= other.broken


@dataclass
class Finished:
    """What earlier attempts at a run have left."""

    # For each window whether it is finished.
    windows: bytearray
    share: Share = field(default_factory=Share)
    # Of the one that comes now.
    attempt: int = 0
    # Bytes of each file of lines that are about finished windows.
    sizes: dict[Path, int] = field(default_factory=dict)


class Journal:
    """Notes the windows that this process finishes.

    Pictures come window after window, in any order within one.
    """

    def __init__(self, parts: Parts, pictures: Pictures) -> None:
        self._parts, self._pictures = parts, pictures
        self._file = GrowingFile(_path(parts.folder, parts.key))
        self._file.lock()  # until this process ends, for that of another run to see
        self._current = Share()  # of the window that is not finished
        self._sizes = parts.sizes()
        self.noted = Share()

    @property
    def count(self) -> int:
        """Pictures that are done, broken ones included."""
        return self.noted.count + self._current.count

    def segmented(self, picture: Picture, detections: int, sizes: dict[str, int]) -> None:
        """All outputs have written about a picture; ``sizes`` are those of the parts when the last of its lines was."""
        self._current.add(Share(1, detections))
        self._sizes = sizes
        self._note_window_of(picture)

    def broken(self, picture: Picture, error: UserError) -> None:
        """A picture did not decode and is left out."""
        self._current.add(Share(broken={picture.place: str(error)}))
        self._note_window_of(picture)

    def close(self) -> None:
        self._file.close()

    def _note_window_of(self, picture: Picture) -> None:
        """Note the window that a picture was the last one of, if it was."""
        window = picture.place // self._parts.window
        if self._current.count < len(window_places(window, self._parts.window, len(self._pictures))):
            return
        record = {
            "window": window,
            "images": self._current.images,
            "detections": self._current.detections,
            "broken": self._current.broken,
            "files": _stamp(self._pictures, window, self._parts.window),
            "sizes": self._sizes,
        }
        self._file.append(json.dumps(record) + "\n")
        self.noted.add(self._current)
        self._current = Share()


def window_places(window: int, size: int, pictures: int) -> range:
    """The places of the pictures of a window.

    >>> window_places(1, size=4, pictures=6)
    range(4, 6)
    """
    return range(window * size, min((window + 1) * size, pictures))


def read_journals(folder: Path, pictures: Pictures, window: int) -> Finished | None:
    """What earlier attempts in ``folder`` have finished; None where nothing of it can be kept. Nothing is changed."""
    finished = Finished(bytearray(-(-len(pictures) // window)))
    for journal in _journals(folder):
        key = journal.stem.partition(".")[2]
        finished.attempt = max(finished.attempt, int(key.partition("-")[0]) + 1)
        for record in _records(journal):
            number = record["window"]
            if number >= len(finished.windows) or record["files"] != _stamp(pictures, number, window):
                return None
            finished.windows[number] = True
            broken = {int(place): line for place, line in record["broken"].items()}
            finished.share.add(Share(record["images"], record["detections"], broken))
            finished.sizes |= {part_path(folder, name, key): size for name, size in record["sizes"].items()}
    if any(not path.is_file() or path.stat().st_size < size for path, size in finished.sizes.items()):
        return None
    return finished


def check_nobody_writes(folder: Path) -> None:
    """Raises ``UserError`` where a process of an earlier attempt is still at work: the first one may end before it."""
    for journal in _journals(folder):
        with GrowingFile(journal) as file:
            if not file.lock():
                raise UserError(f"{folder}: expected no other process at work in this folder; there is one")


def cut_off_the_rest(folder: Path, finished: Finished) -> None:
    """Take away the lines that were written since the last notes."""
    for path in folder.glob(part_path(Path(), "*", "*").name):
        with path.open("r+b") as part:
            part.truncate(finished.sizes.get(path, 0))


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob(_path(Path(), "*").name))


def _path(folder: Path, key: str) -> Path:
    return folder / f"finished.{key}.jsonl"


def _records(journal: Path) -> Iterator[dict[str, Any]]:
    """Its lines; the last one may be cut off."""
    with journal.open(encoding="utf-8", newline="\n") as stream:
        yield from (json.loads(line) for line in stream if line.endswith("\n"))


def _stamp(pictures: Pictures, number: int, window: int) -> int:
    """Changes with the files of the pictures of a window: a checksum of their names, sizes and times."""
    stamp = 0
    for place in window_places(number, window, len(pictures)):
        picture = pictures[place]
        stamp = zlib.crc32(f"{picture.source} {stamp_of_file(picture.path)}".encode(errors="surrogateescape"), stamp)
    return stamp


def stamp_of_file(path: Path) -> tuple[int, int] | None:
    """Another one when the file was written again; None where there is no file."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns
