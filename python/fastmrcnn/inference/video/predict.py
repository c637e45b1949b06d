"""Detection in the frames of a video, from Python."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from os import PathLike

import numpy as np
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.inference.video.ahead import Ahead
from fastmrcnn.inference.video.choice import Chosen, FrameChoice
from fastmrcnn.inference.video.decoding import Damage, Video
from fastmrcnn.inference.video.pixels import PictureOf, shown_otherwise
from fastmrcnn.inference.video.sources import named
from fastmrcnn.models.ahead import number_of_readers
from fastmrcnn.models.detect_stream import detect_stream
from fastmrcnn.models.detector import Detector
from fastmrcnn.structures import Detections

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a video."""

    # Among all frames of the video, from ``start`` on if that is given, counted from 1.
    number: int
    # Seconds since the video's beginning; of a camera, since its first frame.
    time: float
    # uint8 [C, H, W], upright.
    image: Tensor


def predict_video(
    model: Detector,
    source: str | PathLike[str] | int,
    *,
    every: int = 1,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    max_frames: int | None = None,
    live: bool | None = None,
    options: Sequence[str] = (),
    score_threshold: float | None = None,
    batch_size: int = 1,
    readers: int | None = None,
    skip_broken: bool = False,
) -> Generator[tuple[Frame, Detections], None, None]:
    """Detect in the frames of a video file, a camera or a stream, one after the other, in bounded memory.

    A thread decodes ahead of the network. A file waits for it; of a camera, or a stream without an end, the frames are
    dropped that come while the network is at another, so that what is found is of now (their numbers tell), and
    the frames go through the network one by one. Leave the loop, or close the generator, to end.

    Args:
        source: a video file, a camera such as "/dev/video0" or its number, or an address, "rtsp://..." or "http://...".
        every: look at every so many frames.
        fps: look at so many frames a second at most, by their times.
        start: seconds since the video's beginning; a stream that cannot be searched is read from its beginning.
        end: seconds since the video's beginning.
        max_frames: look at so many frames.
        live: whether frames come when they do, see above; None finds out.
        options: of FFmpeg, such as "video_size=1280x720" for a camera or "rtsp_transport=tcp".
        score_threshold: as of :meth:`~fastmrcnn.models.MaskRCNN.predict`, and so are ``batch_size`` and ``readers``,
            the threads that resize.
        skip_broken: go on after what does not decode, with the frames that do.

    Yields:
        Each frame, turned upright, and its ``Detections``, which plot themselves on it.

    Raises:
        UserError: PyAV is missing; the source is missing, no video, or damaged; a model for other than RGB or grey
            images.

    >>> for frame, found in predict_video(model, "film.mp4", fps=2):  # doctest: +SKIP
    ...     print(frame.number, frame.time, found.names)
    """
    choice = FrameChoice(every=every, fps=fps, start=start, end=end, max_frames=max_frames)
    video = Video(named(source), options=options, live=live)
    detection = VideoDetection(model, video, choice, skip_broken=skip_broken or video.live)
    yield from detection.run(score_threshold=score_threshold, batch_size=batch_size, readers=readers)


class VideoDetection:
    """Detection in an open video, and what is known of it besides."""

    def __init__(self, model: Detector, video: Video, choice: FrameChoice, *, skip_broken: bool) -> None:
        self._model, self.video, self.choice = model, video, choice
        channels = model.config.input.pixel_format.channels
        if channels not in (1, 3):
            video.close()
            raise UserError(f"{video.name}: expected a model for images of 1 or 3 channels; this one has {channels}")
        self._picture_of = PictureOf(grey=channels == 1)
        self.damage = Damage(video.name, tolerated=skip_broken)
        # Frames of a live video that came while the network was at others.
        self.dropped = 0
        self._first = True

    def run(
        self,
        *,
        score_threshold: float | None,
        batch_size: int,
        readers: int | None,
        stop: Callable[[], bool] | None = None,
    ) -> Generator[tuple[Frame, Detections], None, None]:
        """See :func:`predict_video`; once. ``stop`` is asked between frames: True ends the detection."""
        live, device = self.video.live, self._model.transform.mean.device
        # Whatever is begun ahead of the network is old when its turn comes.
        batch_size, readers = (1, 0) if live else (batch_size, number_of_readers(readers, device))
        chosen, depth = self._chosen(), 1 if live else batch_size + 1
        with ExitStack() as stack:
            stack.callback(self.video.close)
            frames = stack.enter_context(Ahead(chosen, self._picture, depth=depth, newest=live, stop=stop))
            found = detect_stream(
                self._model,
                islice(frames, self.choice.max_frames),
                score_threshold=score_threshold,
                batch_size=batch_size,
                readers=readers,
                same_size=True,
            )
            for (number, time), image, detections in stack.enter_context(closing(found)):
                self.dropped = frames.dropped
                yield Frame(number, time, image), detections

    def _chosen(self) -> Generator[Chosen, None, None]:
        with closing(self.video.decoded(self.choice.start, self.damage)) as decoded:
            yield from self.choice.among(decoded)

    def _picture(self, chosen: Chosen) -> tuple[tuple[int, float], np.ndarray]:
        """What tells a frame from others, and its pixels."""
        if self._first:
            self._first = False
            for remark in shown_otherwise(chosen.frame):
                _log.warning("%s: %s", self.video.name, remark)
        return (chosen.number, chosen.time), self._picture_of(chosen.frame)
