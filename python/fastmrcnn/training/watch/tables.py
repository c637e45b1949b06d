"""The numbers of a run as files: metrics.jsonl, a JSON object per line, and metrics.csv for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from fastmrcnn.files import GrowingFile, finite, write_text
from fastmrcnn.training.watch.sink import Row, Sink


class JsonLines(Sink):
    """Appends each row, whole, so that other programs can follow a run.

    Args:
        path: the file, which then holds the rows of ``history``: those of a run that was cut short, up to where the new
            one goes on.
    """

    def __init__(self, path: Path, history: Iterable[Row] = ()) -> None:
        self.name = str(path)
        write_text(path, "".join(map(_line, history)), durable=True)
        self._file = GrowingFile(path)

    def write(self, row: Row) -> None:
        self._file.append(_line(row))

    def sync(self) -> None:
        self._file.sync()

    def close(self, outcome: str) -> None:
        self._file.close()


class CsvTable(Sink):
    """The same rows under the columns of all of them; a cell is empty where a row has no such number.

    Rows of training, validation and evaluation have different names, and a column that is new in the middle of a run
    belongs into the first line: the file is then written anew, which happens a few times in a run.
    """

    def __init__(self, path: Path, history: Sequence[Row] = ()) -> None:
        self.name = str(path)
        self._path = path
        self._columns = _columns_of(history)
        write_text(path, _table(self._columns, history, header=bool(history)))
        self._file = GrowingFile(path)

    def write(self, row: Row) -> None:
        columns = _columns_of([row], self._columns)
        if columns != self._columns:
            with self._path.open(encoding="utf-8", newline="") as stream:
                rows: list[Row] = list(csv.DictReader(stream))
            write_text(self._path, _table(columns, [*rows, row], header=True))
            renewed = GrowingFile(self._path)
            self._file.close()
            self._file, self._columns = renewed, columns
        else:
            self._file.append(_table(columns, [row], header=False))

    def close(self, outcome: str) -> None:
        self._file.close()


def _columns_of(rows: Iterable[Row], known: Sequence[str] = ()) -> list[str]:
    """``known`` and the names in ``rows`` that are new, in the order in which they come."""
    return list(dict.fromkeys([*known, *(name for row in rows for name in row)]))


def _table(columns: Sequence[str], rows: Iterable[Row], *, header: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(finite(row) for row in rows)  # None becomes an empty cell
    return text.getvalue()


def _line(row: Row) -> str:
    return json.dumps(finite(row)) + "\n"
