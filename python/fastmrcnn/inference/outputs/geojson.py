"""Polygons as GeoJSON."""

from __future__ import annotations

import json
from typing import Any

from fastmrcnn.files import finite
from fastmrcnn.inference.outputs.outlines import Part, outlines
from fastmrcnn.inference.outputs.output import Output
from fastmrcnn.inference.outputs.pixels import Pixels
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections


class GeoJson(Output):
    """``geojson/NAME.geojson``: a FeatureCollection of polygons in pixels, y downward, with holes and several parts.

    The properties carry class, score and number of the instance, and the words that QuPath reads: ``objectType`` and
    ``classification``.
    """

    files = ("geojson/*.geojson",)

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        instances = zip(found.names, found.scores.tolist(), outlines(found, self.run.config.tolerance), strict=True)
        features = [
            {
                "type": "Feature",
                "geometry": _geometry(parts),
                "properties": {
                    "instance": number,
                    "class": name,
                    "score": finite(score),
                    "objectType": "annotation",
                    "classification": {"name": name},
                },
            }
            for number, (name, score, parts) in enumerate(instances, 1)
        ]
        document = {"type": "FeatureCollection", "features": features}
        self.folder("geojson").joinpath(f"{picture.name}.geojson").write_text(json.dumps(document), encoding="utf-8")


def _geometry(parts: list[Part]) -> dict[str, Any] | None:
    # RFC 7946 wants exteriors anticlockwise where y points up, which is clockwise on a screen, and rings closed.
    polygons = [[[*ring.tolist(), ring[0].tolist()] for ring in part] for part in parts]
    if not polygons:
        return None  # a feature that is nowhere
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
