"""Pictures with their instances drawn."""

from __future__ import annotations

from torch import Tensor

from fastmrcnn.inference.outputs.output import Output
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections


class Overlays(Output):
    """``overlays/NAME.jpg``."""

    files = ("overlays/*.jpg",)

    def add(self, picture: Picture, image: Tensor, found: Detections) -> None:
        folder = self.run.folder / "overlays"
        folder.mkdir(exist_ok=True)
        found.plot(image).save(folder / f"{picture.name}.jpg", quality=92)
