"""Pictures with their instances drawn."""

from __future__ import annotations

from torch import Tensor

from fastmrcnn.inference.outputs.output import Output
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections


class Overlays(Output):
    """``overlays/NAME.jpg``, or ``.png``, which loses nothing."""

    files = ("overlays/*.jpg", "overlays/*.png")

    def add(self, picture: Picture, image: Tensor, found: Detections) -> None:
        path = self.folder("overlays") / f"{picture.name}.{self.run.config.overlay_format}"
        found.plot(image).save(path, quality=92)  # PNG has no such setting and ignores it
