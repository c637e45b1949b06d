"""Polygons as files of LabelMe, to be corrected by hand."""

from __future__ import annotations

import json
from typing import Any

from fastmrcnn.files import finite
from fastmrcnn.inference.outputs.outlines import outlines
from fastmrcnn.inference.outputs.output import Output
from fastmrcnn.inference.outputs.pixels import Pixels
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.ops import join_rings
from fastmrcnn.structures import Detections

_VERSION = "5.5.0"  # of LabelMe, whose keys these are


class LabelMe(Output):
    """``labelme/NAME.json``: a polygon for each part of an instance; those of one instance share a ``group_id``.

    A hole is reached over a cut of no width, for LabelMe's polygons have none. ``imagePath`` leads from the folder of
    results to the image; pages of a file are stored beside the JSON.
    """

    files = ("labelme/*.json", "labelme/*.png")

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        shapes: list[dict[str, Any]] = []
        instances = zip(found.names, found.scores.tolist(), outlines(found, self.run.config.tolerance), strict=True)
        for number, (name, score, parts) in enumerate(instances, 1):
            for part in parts:
                shapes.append(
                    {
                        "label": name,
                        "points": join_rings(part).tolist(),
                        "group_id": number if len(parts) > 1 else None,
                        "description": "",
                        "shape_type": "polygon",
                        "flags": {},
                        "mask": None,
                        "score": finite(score),
                    }
                )
        height, width = found.image_size
        document: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": self.image_for(picture, image, "labelme"),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        self.folder("labelme").joinpath(f"{picture.name}.json").write_text(json.dumps(document), encoding="utf-8")
