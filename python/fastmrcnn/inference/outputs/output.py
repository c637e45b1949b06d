"""What all kinds of output have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from PIL import Image

from fastmrcnn.inference.coco_ids import CocoIds
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.outputs.parts import Parts
from fastmrcnn.inference.outputs.pixels import Pixels, whole_of
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections
from fastmrcnn.visualisation import as_picture


@dataclass(frozen=True)
class Run:
    """What every output knows of the run."""

    config: PredictConfig
    # Where all is written. It becomes ``config.output`` when the run ends well; until then nobody looks into it. What
    # an interrupted run has left of a picture here is written over.
    folder: Path
    ids: CocoIds
    # Of the model, in its order.
    class_names: tuple[str, ...]
    # For lines about pictures that become one file.
    parts: Parts
    # Whether the model finds masks, not boxes alone.
    has_masks: bool
    # What tells pictures of one file apart, as in ``Picture.within``.
    within: tuple[str, ...] = ("page",)
    # Whether somebody is waiting for what is found, before all is done.
    live: bool = False


class Output(ABC):
    """One kind of result, written while pictures are segmented: memory does not grow with their number.

    Each process has one of its own and adds its share of the pictures; when all of them have closed theirs, that of the
    first process makes one of what they wrote.
    """

    # Globs of what it leaves in the folder of results; an earlier run's are removed.
    files: ClassVar[tuple[str, ...]]
    # Whether it writes files of their own for each picture: then it is fed by several threads, in any order.
    file_per_picture: ClassVar[bool] = True

    def __init__(self, run: Run) -> None:
        self.run = run

    @abstractmethod
    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        """Write what was found in a picture.

        Where there are not files for each picture, pictures come in any order within the few that are segmented
        together, else in their own (:class:`~fastmrcnn.inference.outputs.parts.Parts` puts them in order).

        image: [C, H, W], what the model looked at; of a picture that was segmented in tiles, what reads it.
        """

    def close(self) -> None:  # noqa: B027  # for outputs that hold nothing open
        """The share of this process is done, or has failed."""

    def finish(self) -> None:  # noqa: B027  # for outputs with files of their own for each picture
        """In the first process, when every process has closed its output: make one of their parts."""

    def folder(self, name: str) -> Path:
        """A folder within that of the results, made where it is missing."""
        folder = self.run.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def image_for(self, picture: Picture, image: Pixels, folder: str) -> str:
        """The path of an image file with the picture, from a folder within that of the results once these are finished.

        It is relative, so that both may move together. A page or frame of several becomes a PNG in that folder.
        """
        if picture.is_file:
            place = (self.run.config.output / folder).resolve()
            return Path(os.path.relpath(picture.path.resolve(), place)).as_posix()
        name = f"{picture.name}.png"
        pixels = whole_of(image).permute(1, 2, 0).numpy(force=True)
        Image.fromarray(as_picture(pixels)).save(self.folder(folder) / name)
        return name

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
