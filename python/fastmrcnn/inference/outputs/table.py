"""A table of all instances."""

from __future__ import annotations

import csv
import json
from typing import TextIO

from fastmrcnn.files import finite
from fastmrcnn.inference.outputs.output import Output, Run
from fastmrcnn.inference.outputs.pixels import Pixels
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections

_COLUMNS = ("instance", "class", "score", "x1", "y1", "x2", "y2", "area", "centroid_x", "centroid_y")


class Table(Output):
    """``instances.csv``: a row for each instance, of all pictures.

    ``page`` is that of a file of several pictures (of videos there are ``frame`` and ``time`` instead), and
    ``instance`` counts from 1 in each picture; the box and the centroid of the mask are in pixels, ``area`` is the
    number of the mask's. Without masks the last three are empty.
    """

    files = ("instances.csv",)
    file_per_picture = False

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._rows = run.parts.open("instances")

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        self._rows.write(picture.place, (json.dumps(finite(row)) for row in self._all_rows(picture, found)))

    def _all_rows(self, picture: Picture, found: Detections) -> list[list[object]]:
        where = [picture.file_name, *map(picture.within.get, self.run.within)]
        return [where + row for row in _rows(found)]

    def finish(self) -> None:
        path = self.run.folder / "instances.csv"
        # File names need not be text; one that is not shall not keep readers from all the others.
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            table = csv.writer(_Lines(stream))
            table.writerow(("image", *self.run.within, *_COLUMNS))
            table.writerows(json.loads(row) for row in self._rows.lines_of_all())


class _Lines:
    """Rows that end in a line feed. With any other end than its own the writer leaves carriage returns unquoted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> None:
        self._stream.write(row.removesuffix("\r\n") + "\n")


def _rows(found: Detections) -> list[list[object]]:
    measures: list[list[object]] = [[None, None, None]] * len(found)
    if found.has_masks:
        centroids = found.run_lengths.centroids().double().tolist()
        areas = found.run_lengths.areas().tolist()
        measures = [[int(area), *_rounded(centre)] for area, centre in zip(areas, centroids, strict=True)]
    boxes = found.boxes.detach().double().tolist()
    instances = zip(found.names, found.scores.double().tolist(), boxes, measures, strict=True)
    return [
        [number, name, round(score, 6), *_rounded(box), *own]
        for number, (name, score, box, own) in enumerate(instances, 1)
    ]


def _rounded(places: list[float]) -> list[float]:
    return [round(place, 3) for place in places]
