"""Videos with their instances drawn."""

from __future__ import annotations

import numpy as np

from fastmrcnn.errors import UserError
from fastmrcnn.inference.outputs.output import Output, Run
from fastmrcnn.inference.outputs.pixels import Pixels, whole_of
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.inference.video.encoding import VideoWriter
from fastmrcnn.structures import Detections


class AnnotatedVideo(Output):
    """``video/NAME.mp4``: the frames that were looked at, each at its own time, without the sound."""

    files = ("video/*.mp4",)
    file_per_picture = False

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._name = ""
        self._writer: VideoWriter | None = None

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        frame = picture.frame
        if frame is None:
            raise UserError(f"{picture.source}: expected a video, of which save makes a video; this is an image")
        if self._writer is None or frame.name != self._name:
            self.close()
            self._name = frame.name
            self._writer = VideoWriter(self.folder("video") / f"{frame.name}.mp4", frame.rate)
        self._writer.add(np.asarray(found.plot(whole_of(image))), frame.time)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
