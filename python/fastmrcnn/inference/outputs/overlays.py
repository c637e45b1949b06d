"""Pictures with their instances drawn."""

from __future__ import annotations

from fastmrcnn.inference.outputs.output import Output
from fastmrcnn.inference.outputs.pixels import Pixels, overview
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections


class Overlays(Output):
    """``overlays/NAME.jpg``, or ``.png``, which loses nothing. Of large pictures in tiles it is an overview."""

    files = ("overlays/*.jpg", "overlays/*.png")

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        path = self.folder("overlays") / f"{picture.name}.{self.run.config.overlay_format}"
        small, here = overview(image, found)
        here.plot(small).save(path, quality=92)  # PNG has no such setting and ignores it
