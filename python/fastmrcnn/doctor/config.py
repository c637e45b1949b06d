"""What a check of a data set is told, without the weight of what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastmrcnn.errors import UserError
from fastmrcnn.training.architectures import check_architecture
from fastmrcnn.training.config import DataFormat

FailOn = Literal["error", "warning", "note", "never"]


@dataclass(frozen=True)
class DoctorConfig:
    """The options of ``fastmrcnn doctor`` beside the data set itself.

    >>> DoctorConfig(shown=-1)
    Traceback (most recent call last):
        ...
    fastmrcnn.errors.UserError: shown must be at least 0; got -1
    """

    # Folder that the names of the images are relative to; the default is where the format has them.
    images: Path | None = None
    # A second data set, that of the validation: images in both and classes in one are found.
    val: Path | None = None
    # Folder of the validation's images; the default is images.
    val_images: Path | None = None
    # Format of the annotations; the default finds out.
    data_format: DataFormat | None = None
    # Which part of a path that holds several.
    split: str = "train"
    # Which part of val, where that holds several.
    val_split: str = "val"
    # Write a repaired copy to this new folder: COCO files, and the images.
    fix: Path | None = None
    # How the copy gets its images. "link" makes hard links, which take no space, but a program that writes into such an
    # image changes the original too; it copies where the folder is on another disk.
    fix_images: Literal["copy", "link"] = "copy"
    # HTML page of pictures and numbers to write.
    report: Path | None = None
    # JSON file with every problem and all numbers to write.
    json: Path | None = None
    # Channels that images must have: 1 is grey, 3 RGB, others are the bands of TIFFs or .npy arrays as they are.
    channels: int = 3
    # The number that is white in images of 16 bits: 4095 where a camera has 12.
    white_level: int = 65535
    # Problems of each kind that are printed; the files have them all.
    shown: int = 3
    # The least severe problem that makes the exit code 1: "error" is what training refuses, "warning" what it suffers
    # from. 2 stands for a data set or an option that cannot be read at all.
    fail_on: FailOn = "warning"
    # False looks at the heads of image files alone: fast, but damaged and identical images stay unseen.
    decode: bool = True
    # Threads that decode images; 0 is one a processor, at most 8.
    workers: int = 0
    # The architecture whose anchors and image size are compared with the objects; an unknown name is answered with all.
    model: str = "tiny"
    # In its place, a weights file or the name of a published model.
    weights: str | None = None
    # Length of the shorter side that it resizes images to, in pixels; the default is the model's own.
    min_size: int | None = None
    # Longest side after resizing, in pixels; the default is the model's own.
    max_size: int | None = None

    def __post_init__(self) -> None:
        check_architecture(self.model)
        for name, smallest in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UserError(f"{name} must be at least {smallest}; got {value}")
        if self.white_level >= 2**16:
            raise UserError(f"white_level must be a number of 16 bits, below 65536; got {self.white_level}")
        if self.val_images is not None and self.val is None:
            raise UserError(f"val_images needs a val; got val_images={str(self.val_images)!r} and no val")


_AT_LEAST = {"shown": 0, "workers": 0, "channels": 1, "white_level": 1, "min_size": 16, "max_size": 16}
