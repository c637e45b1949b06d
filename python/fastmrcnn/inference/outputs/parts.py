"""Lines of text about pictures, written by several processes and read again in the order of the pictures."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastmrcnn import distributed


class PartFile:
    """The lines that this process writes of its pictures, in a temporary file in the folder of results.

    >>> part = PartFile(Path("found"), "table")  # doctest: +SKIP
    >>> part.write(picture.place, ["cat,0.93"])  # doctest: +SKIP
    >>> part.close()  # doctest: +SKIP
    >>> list(part.lines_of_all())  # doctest: +SKIP
    ['cat,0.93']
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._paths = [folder / f"{name}.part-{rank}" for rank in range(distributed.processes())]
        self._stream = self._paths[distributed.rank()].open("w", encoding="utf-8")

    def write(self, place: int, lines: Iterable[str]) -> None:
        """Append lines, which hold no line breaks, about the picture at ``place``."""
        self._stream.writelines(f"{place}\t{line}\n" for line in lines)

    def close(self) -> None:
        self._stream.close()

    def lines_of_all(self) -> Iterator[str]:
        """The lines of every process by the place of their pictures; then the files are gone.

        To be called when every process has closed its own.
        """
        for _, line in heapq.merge(*map(_places_and_lines, self._paths), key=lambda item: item[0]):
            yield line
        for path in self._paths:
            path.unlink()


def _places_and_lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8", newline="\n") as stream:
        for record in stream:
            place, _, line = record.rstrip("\n").partition("\t")
            yield int(place), line
