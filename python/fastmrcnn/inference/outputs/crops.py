"""Every instance cut out of its picture."""

from __future__ import annotations

import re
import shutil

import numpy as np
from PIL import Image

from fastmrcnn.inference.outputs.output import Output
from fastmrcnn.inference.outputs.pixels import Pixels, parts_of
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections


class Crops(Output):
    """``crops/NAME/NUMBER-CLASS.png``: the picture within the tight box of the mask, with the mask as its alpha.

    Of a model that finds boxes alone, within the box. An empty mask has no crop.
    """

    files = ("crops/*/*.png",)

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        part_of = parts_of(image)
        # An interrupted run may have left more there, of a picture that was another one then.
        shutil.rmtree(self.run.folder / "crops" / picture.name, ignore_errors=True)
        height, width = found.image_size
        boxes = found.run_lengths.boxes() if found.has_masks else found.boxes.detach().cpu().nan_to_num()
        corners = np.clip(np.round(boxes.numpy()), 0, [width, height, width, height]).astype(int).tolist()
        for number, (name, (left, top, right, bottom)) in enumerate(zip(found.names, corners, strict=True), 1):
            if left >= right or top >= bottom:
                continue
            crop = Image.fromarray(part_of(top, left, bottom - top, right - left))
            if found.has_masks:
                mask = found.run_lengths[number - 1 : number].crop(top, left, bottom - top, right - left)
                crop.putalpha(Image.fromarray(mask.to_bitmaps()[0].numpy().astype(np.uint8) * 255))
            crop.save(self.folder(f"crops/{picture.name}") / f"{number}-{_as_file_name(name)}.png")


def _as_file_name(text: str) -> str:
    """A class name without what file systems or shells take otherwise."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "_"
