"""Lines of text about pictures, written by several processes and read again in the order of the pictures."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path


class Parts:
    """The files that one process writes lines to, in one attempt at a run.

    >>> parts = Parts(Path(), attempt=0, rank=0, window=2)
    >>> table = parts.open("table")
    >>> for place in (1, 0):
    ...     table.write(place, [f"picture {place}, cat, 0.93"])
    >>> parts.close()
    >>> list(table.lines_of_all())
    ['picture 0, cat, 0.93', 'picture 1, cat, 0.93']
    """

    def __init__(self, folder: Path, *, attempt: int, rank: int, window: int) -> None:
        self.folder, self.window = folder, window
        self.key = f"{attempt}-{rank}"  # in the names of the files
        self._files: dict[str, PartFile] = {}

    def open(self, name: str) -> PartFile:
        """A new file for lines of one kind."""
        self._files[name] = PartFile(self, name)
        return self._files[name]

    def sizes(self) -> dict[str, int]:
        """The bytes of each file, which are out of this process's hands."""
        return {name: file.flushed_size() for name, file in self._files.items()}

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class PartFile:
    """The lines of one kind that a process writes about its pictures."""

    def __init__(self, parts: Parts, name: str) -> None:
        self._name, self._folder, self._window = name, parts.folder, parts.window
        self._stream = part_path(parts.folder, name, parts.key).open("w", encoding="utf-8")

    def write(self, place: int, lines: Iterable[str]) -> None:
        """Append lines, which hold no line breaks, about the picture at ``place``."""
        self._stream.writelines(f"{place}\t{line}\n" for line in lines)

    def flushed_size(self) -> int:
        self._stream.flush()
        return os.fstat(self._stream.fileno()).st_size

    def close(self) -> None:
        self._stream.close()

    def lines_of_all(self) -> Iterator[str]:
        """The lines of every process and attempt by the place of their pictures.

        To be called when every process has closed its own; the files stay, for who is interrupted and asks again.
        """
        found = sorted(self._folder.glob(part_path(Path(), self._name, "*").name))
        paths = [path for path in found if path.stat().st_size]  # all of them are open at once
        in_order = (_in_order(path, self._window) for path in paths)
        for _, line in heapq.merge(*in_order, key=_place):
            yield line


def part_path(folder: Path, name: str, key: str) -> Path:
    """Where lines of the kind ``name`` are; ``key`` names the attempt and the process."""
    return folder / f"{name}.part-{key}"


def _in_order(path: Path, window: int) -> Iterator[tuple[int, str]]:
    """The places and lines in a file. Pictures come in their order but for those of a window."""
    with path.open(encoding="utf-8", newline="\n") as stream:
        for _, records in groupby(map(_split, stream), key=lambda record: record[0] // window):
            yield from sorted(records, key=_place)


def _split(record: str) -> tuple[int, str]:
    place, _, line = record.rstrip("\n").partition("\t")
    return int(place), line


def _place(record: tuple[int, str]) -> int:
    return record[0]
