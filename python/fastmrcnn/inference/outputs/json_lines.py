"""A line of JSON for each picture, which may be read while it is written."""

from __future__ import annotations

import json
from pathlib import Path

from fastmrcnn.files import GrowingFile, finite
from fastmrcnn.inference.outputs.output import Output, Run
from fastmrcnn.inference.outputs.pixels import Pixels
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections

_NAME = "detections.jsonl"


class JsonLines(Output):
    """``detections.jsonl``: what ``images.json`` says of a picture, and in ``detections`` its COCO results with the
    names of their classes.

    Of a camera it stands in the folder of results from the beginning and grows by whole lines.
    """

    files = (_NAME,)
    file_per_picture = False

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._growing = _new_file(run.config.output / _NAME) if run.live else None
        self._part = None if run.live else run.parts.open("detections")

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        names = [name for name in found.names if name in self.run.ids.category_of]
        results = [
            {key: value for key, value in result.items() if key != "image_id"} | {"class": name}
            for name, result in zip(names, self.run.ids.results(picture, found), strict=True)
        ]
        line = json.dumps(finite(self.run.ids.entry(picture, found) | {"detections": results}))
        if self._growing is not None:
            self._growing.append(line + "\n")
        elif self._part is not None:
            self._part.write(picture.place, [line])

    def close(self) -> None:
        if self._growing is not None:
            self._growing.close()

    def finish(self) -> None:
        if self._part is not None:
            with (self.run.folder / _NAME).open("w", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in self._part.lines_of_all())


def _new_file(path: Path) -> GrowingFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return GrowingFile(path)
