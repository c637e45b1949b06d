"""COCO results, and the document that their ids belong to."""

from __future__ import annotations

import json

from fastmrcnn.files import finite
from fastmrcnn.inference.outputs.json_array import write_array
from fastmrcnn.inference.outputs.output import Output, Run
from fastmrcnn.inference.outputs.pixels import Pixels
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections


class CocoResults(Output):
    """``predictions.json``: one result for each instance; ``images.json`` where the ids are nobody else's."""

    files = ("images.json", "predictions.json")
    file_per_picture = False

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._results = run.parts.open("predictions")
        self._images = run.parts.open("images") if run.config.annotations is None else None

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        results = self.run.ids.results(picture, found)
        self._results.write(picture.place, (json.dumps(finite(result)) for result in results))
        if self._images is not None:
            self._images.write(picture.place, [json.dumps(self.run.ids.entry(picture, found))])

    def finish(self) -> None:
        with (self.run.folder / "predictions.json").open("w", encoding="utf-8") as stream:
            write_array(stream, self._results.lines_of_all())
            stream.write("\n")
        if self._images is None:
            return
        with (self.run.folder / "images.json").open("w", encoding="utf-8") as stream:
            stream.write('{"images": ')
            write_array(stream, self._images.lines_of_all())
            categories = [{"id": number, "name": name} for name, number in self.run.ids.category_of.items()]
            stream.write(f', "annotations": [], "categories": {json.dumps(categories)}}}\n')
