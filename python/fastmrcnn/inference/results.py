"""COCO results as one JSON array that is written while it grows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TextIO

from fastmrcnn.files import finite


def as_line(result: dict[str, Any]) -> str:
    """A result as an element of the array."""
    return json.dumps(finite(result))


class ResultsWriter:
    """Writes dictionaries to ``stream`` as the elements of one JSON array, one per line: memory stays bounded.

    >>> import sys
    >>> with ResultsWriter(sys.stdout) as results:
    ...     results.extend([{"image_id": 1}, {"image_id": 2}])
    [
    {"image_id": 1},
    {"image_id": 2}
    ]
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.count = 0  # elements so far

    def __enter__(self) -> ResultsWriter:
        self._stream.write("[")
        return self

    def extend(self, results: Iterable[dict[str, Any]]) -> None:
        self.copy(map(as_line, results))

    def copy(self, lines: Iterable[str]) -> None:
        """Write elements that are JSON already."""
        for line in lines:
            self._stream.write(",\n" if self.count else "\n")
            self._stream.write(line)
            self.count += 1

    def __exit__(self, *error: object) -> None:
        self._stream.write("\n]\n")
