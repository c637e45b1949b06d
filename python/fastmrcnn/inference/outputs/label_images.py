"""Images whose pixels are the numbers of instances, and of their classes."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from fastmrcnn.errors import UserError
from fastmrcnn.inference.outputs.output import Output, Run
from fastmrcnn.inference.outputs.pixels import Pixels
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.ops import number_pixels
from fastmrcnn.structures import Detections

_MOST_IN_16_BITS = 65535
_MOST_IN_8_BITS = 255


class LabelImages(Output):
    """``labels/instances/NAME.png`` and ``labels/classes/NAME.png``: 0 is background.

    Instances are numbered from 1 in their order, in 16 bits; where a picture has more than 65,535 the file is a TIFF
    of 32. Classes are numbered from 1 in the order of the model's, in 8 bits, or 16 for more than 255. A pixel of
    several instances belongs to the one with the highest score.
    """

    files = ("labels/instances/*.png", "labels/instances/*.tif", "labels/classes/*.png")

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        if not run.has_masks:
            raise UserError("save: labels are made of masks; this model finds boxes alone")

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        falling = torch.argsort(found.scores.cpu(), descending=True, stable=True)
        wide = len(found) > _MOST_IN_16_BITS
        instances = number_pixels(found.run_lengths, falling, torch.int32 if wide else torch.uint16).numpy()
        numbers = Image.fromarray(instances)
        if wide:
            numbers.save(self.folder("labels/instances") / f"{picture.name}.tif", compression="tiff_deflate")
        else:
            numbers.save(self.folder("labels/instances") / f"{picture.name}.png")
        depth = np.uint8 if len(found.class_names) <= _MOST_IN_8_BITS else np.uint16
        class_of = np.concatenate([[0], found.labels.cpu().numpy() + 1]).astype(depth)
        Image.fromarray(class_of[instances]).save(self.folder("labels/classes") / f"{picture.name}.png")
