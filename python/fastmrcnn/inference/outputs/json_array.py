"""JSON arrays that are written while they grow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO


def write_array(stream: TextIO, elements: Iterable[str]) -> None:
    """Write elements, each JSON already, as one JSON array, one per line: memory stays bounded.

    >>> import sys
    >>> write_array(sys.stdout, ['{"image_id": 1}', '{"image_id": 2}'])
    [
    {"image_id": 1},
    {"image_id": 2}
    ]
    """
    stream.write("[")
    for place, element in enumerate(elements):
        stream.write(",\n" if place else "\n")
        stream.write(element)
    stream.write("\n]")
