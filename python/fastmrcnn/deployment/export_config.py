"""What an export is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, get_args

from fastmrcnn.errors import UserError

Format = Literal["onnx", "torch-export", "aotinductor"]
Inputs = Literal["uint8", "float32", "network"]

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch-export": ".pt2", "aotinductor": ".pt2"}


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Write a model as a file that other software runs.

    >>> ExportConfig(output=Path("model.pt2"), format="onnx")
    Traceback (most recent call last):
        ...
    fastmrcnn.errors.UserError: output must end in .onnx for the format onnx; got model.pt2
    """

    # The file to write: .onnx, or .pt2 for the formats of torch.
    output: Path
    # The shipped weights "tiny", a weights file, or the name of a published model.
    weights: str = "tiny"
    # "onnx": standard operators, for ONNX Runtime and others. "torch-export": a program of torch, for Python.
    # "aotinductor": the same compiled for this kind of machine.
    format: Format = "onnx"
    # What the file takes. "uint8": images [B, C, H, W] of one size, 0..255; boxes come in their pixels. "float32": the
    # same in 0..1. "network": pixels that are normalised, resized and padded, and the sizes of the images in them. The
    # default is uint8, and network for aotinductor, which has no other.
    inputs: Inputs | None = None
    # Least score of a detection, which becomes a part of the file; the default is the model's own.
    score_threshold: float | None = None
    # Detections of an image at most, likewise.
    max_detections: int | None = None
    # Images to compare the file with the model on; the default are some of the package's own.
    check_images: tuple[str, ...] = ()
    # Run the written file and compare its detections with the model's before it takes its name.
    check: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", Path(self.output))
        object.__setattr__(self, "check_images", tuple(str(image) for image in self.check_images))
        if self.inputs is None:
            object.__setattr__(self, "inputs", "network" if self.format == "aotinductor" else "uint8")
        for option, choices in (("format", get_args(Format)), ("inputs", get_args(Inputs))):
            if getattr(self, option) not in choices:
                raise UserError(f"{option} must be one of {', '.join(choices)}; got {getattr(self, option)}")
        suffix = SUFFIXES[self.format]
        if self.output.suffix != suffix:
            raise UserError(f"output must end in {suffix} for the format {self.format}; got {self.output}")
        if self.score_threshold is not None and not 0 <= self.score_threshold <= 1:
            raise UserError(f"score_threshold must be in 0..1; got {self.score_threshold}")
        if self.max_detections is not None and self.max_detections < 1:
            raise UserError(f"max_detections must be at least 1; got {self.max_detections}")
        if self.check_images and not self.check:
            raise UserError("check_images cannot be given with --no-check")
