"""Pictures with their instances drawn."""

from __future__ import annotations

from fastmrcnn.inference.outputs.output import Output
from fastmrcnn.inference.outputs.pixels import Pixels, overview
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections

_LONGEST_JPEG = 65500  # px


class Overlays(Output):
    """``overlays/NAME.jpg``, or ``.png``, which loses nothing. Of large pictures in tiles it is an overview.

    Of what is longer than a JPEG can be it is a PNG.
    """

    files = ("overlays/*.jpg", "overlays/*.png")

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        small, here = overview(image, found)
        suffix = self.run.config.overlay_format if max(here.image_size) <= _LONGEST_JPEG else "png"
        path = self.folder("overlays") / f"{picture.name}.{suffix}"
        here.plot(small).save(path, quality=92)  # PNG has no such setting and ignores it
