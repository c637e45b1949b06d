"""A data set of YOLO's segmentation."""

from __future__ import annotations

import yaml

from fastmrcnn.inference.outputs.outlines import Part, outlines
from fastmrcnn.inference.outputs.output import Output
from fastmrcnn.inference.outputs.pixels import Pixels
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.ops import join_rings
from fastmrcnn.structures import Detections


class Yolo(Output):
    """``yolo/labels/NAME.txt``, a line ``class x1 y1 x2 y2 ...`` for each instance, in fractions of the image's sides.

    Parts and holes are joined to one outline by cuts of no width. ``yolo/images`` has links to the images,
    or the pages of a file, and ``yolo/data.yaml`` names the classes, so that the folder is a data set to train on.
    """

    files = ("yolo/data.yaml", "yolo/labels/*.txt", "yolo/images/*")

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        instances = zip(found.labels.tolist(), outlines(found, self.run.config.tolerance), strict=True)
        lines = [_line(label, parts, found.image_size) for label, parts in instances if parts]
        self.folder("yolo/labels").joinpath(f"{picture.name}.txt").write_text("".join(lines), encoding="utf-8")
        way = self.image_for(picture, image, "yolo/images")
        if picture.is_file:
            link = self.folder("yolo/images") / f"{picture.name}{picture.path.suffix}"
            link.unlink(missing_ok=True)  # of an interrupted run
            link.symlink_to(way)

    def finish(self) -> None:
        names = dict(enumerate(self.run.class_names))
        text = yaml.safe_dump({"train": "images", "val": "images", "names": names}, sort_keys=False, allow_unicode=True)
        self.folder("yolo").joinpath("data.yaml").write_text(text, encoding="utf-8")


def _line(label: int, parts: list[Part], image_size: tuple[int, int]) -> str:
    height, width = image_size
    shares = join_rings([ring for part in parts for ring in part]) / [width, height]
    # Six digits are a hundredth of a pixel in images of 20,000: rasterisers tell a tenth apart.
    return " ".join([str(label), *(f"{share:.6g}" for share in shares.ravel().clip(0, 1).tolist())]) + "\n"
