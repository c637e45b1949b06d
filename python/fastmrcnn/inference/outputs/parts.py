"""Lines of text about pictures, written by several processes and read again in the order of the pictures."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from fastmrcnn import distributed
from fastmrcnn.inference.outputs.output import Run
from fastmrcnn.models.batching import window_of


class PartFile:
    """The lines that this process writes of its pictures, in a temporary file in the folder of results.

    >>> part = PartFile(run, "table")  # doctest: +SKIP
    >>> part.write(picture.place, ["cat,0.93"])  # doctest: +SKIP
    >>> part.close()  # doctest: +SKIP
    >>> list(part.lines_of_all())  # doctest: +SKIP
    ['cat,0.93']
    """

    def __init__(self, run: Run, name: str) -> None:
        self._window = window_of(run.config.batch_size)
        self._paths = [run.folder / f"{name}.part-{rank}" for rank in range(distributed.processes())]
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
        in_order = (_in_order(path, self._window) for path in self._paths)
        for _, line in heapq.merge(*in_order, key=_place):
            yield line
        for path in self._paths:
            path.unlink()


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
