"""Segment videos with all kinds of outputs: the command's way."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

from fastmrcnn import distributed
from fastmrcnn.errors import UserError
from fastmrcnn.inference.coco_ids import numbered
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.outputs import Output, Run, chosen
from fastmrcnn.inference.outputs.parts import Parts
from fastmrcnn.inference.pictures import FrameOfVideo, Picture, numbered_names
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.inference.staging import check_apart, remove_earlier_results, results_in, staged, write_about
from fastmrcnn.inference.summary import PredictSummary
from fastmrcnn.inference.video.decoding import Video
from fastmrcnn.inference.video.predict import Frame, VideoDetection
from fastmrcnn.inference.video.sources import is_stream, result_name
from fastmrcnn.inference.writing import WriteBehind
from fastmrcnn.interrupt import InterruptFlag
from fastmrcnn.models.ahead import number_of_readers
from fastmrcnn.models.batching import window_of
from fastmrcnn.models.detector import Detector

_log = logging.getLogger(__name__)


def predict_videos(
    config: PredictConfig, model: Detector, sources: Sequence[str], *, progress: bool = True
) -> PredictSummary:
    """Segment the frames of ``sources``, one video after the other, and write the results under ``config.output``.

    Frames are numbered from 1 in each video, and so are images; of several videos the ids of images go on. Everything
    appears when the last frame is done. Of a live video ``detections.jsonl`` grows in ``config.output`` as it is found,
    and Ctrl-C, SIGTERM or the end of the stream finish the results.

    Raises:
        UserError: a video that is missing, no video, or damaged; several processes; annotations.
    """
    began = time.monotonic()
    if distributed.processes() > 1:
        raise UserError("images: expected image files, which several processes share; a video is for one process")
    if config.annotations is not None:
        raise UserError("annotations: expected images, whose ids it has; the frames of a video are numbered")
    with ExitStack() as stack:
        stream = _open(config, sources[0]) if is_stream(sources[0]) else None
        live = bool(config.live) if stream is None else stream.live
        if stream is not None:
            stack.callback(stream.close)
        config = dataclasses.replace(config, save=config.save or (("coco", "jsonl") if live else ("coco", "video")))
        check_apart([source for source in sources if not is_stream(source)], config.output, config.save)
        work = stack.enter_context(staged(config.output))
        if live:
            remove_earlier_results(config.output)
        parts = Parts(work, attempt=0, rank=0, window=window_of(config.batch_size))
        run = Run(
            config,
            results_in(work),
            numbered(model.config),
            model.config.class_names,
            parts,
            has_masks=model.config.mask_head is not None,
            within=("frame", "time"),
            live=live,
        )
        outputs = [kind(run) for kind in chosen(config)]
        flag = stack.enter_context(InterruptFlag()) if live else None
        done = _Work(run, model, outputs, stop=None if flag is None else lambda: flag.requested)
        done.segment(sources, stream, progress)
        for output in outputs:
            output.finish()
        write_about(run.folder, config, model.config, done.images, done.detections)
    return PredictSummary(
        output=config.output,
        images=done.images,
        detections=done.detections,
        broken=done.broken,
        seconds=time.monotonic() - began,
        device=str(model.transform.mean.device),
        dropped=done.dropped,
    )


class _Work:
    """What is done in a run, and how much of it is."""

    def __init__(
        self, run: Run, model: Detector, outputs: Sequence[Output], stop: Callable[[], bool] | None = None
    ) -> None:
        self._run, self._model, self._outputs, self._stop = run, model, outputs, stop
        self._next_place = 0
        self.images = self.detections = self.dropped = 0
        self.broken: list[str] = []

    def segment(self, sources: Sequence[str], stream: Video | None, progress: bool) -> None:
        """Add all videos to the outputs, which are closed then. ``stream``: the first one, where it is open already."""
        names = [result_name(source) for source in sources]
        renamed = numbered_names(names)
        with ExitStack() as stack:
            for output in self._outputs:
                stack.enter_context(output)
            stack.enter_context(closing(self._run.parts))
            threads = number_of_readers(self._run.config.readers, self._model.transform.mean.device)
            writer = stack.enter_context(WriteBehind(self._outputs, threads))
            total = self._expected(sources, stream)
            self._bar = stack.enter_context(progress_bar(total, "predict", " images", shown=progress))
            for place, source in enumerate(sources):
                try:
                    video = stream or _open(self._run.config, source)
                except UserError as error:
                    if not self._run.config.skip_broken:
                        raise
                    self.broken.append(str(error))
                    continue
                self._segment(video, renamed.get(place) or names[place], writer)

    def _segment(self, video: Video, name: str, writer: WriteBehind) -> None:
        config = self._run.config
        detection = VideoDetection(self._model, video, config.choice, skip_broken=config.skip_broken or video.live)
        frames = detection.run(
            score_threshold=config.score_threshold,
            batch_size=config.batch_size,
            readers=config.readers,
            stop=self._stop,
        )
        first_place, began = self._next_place, None
        with closing(frames):
            for frame, found in frames:
                began = began or datetime.now(timezone.utc) - timedelta(seconds=frame.time)
                picture = self._picture(video, name, frame, first_place, began)
                writer.add(picture, frame.image, found)
                self._next_place = picture.place + 1
                self.images, self.detections = self.images + 1, self.detections + len(found)
                if video.live:
                    self.dropped = detection.dropped
                    self._bar.set_postfix_str(f"{self.dropped} dropped", refresh=False)
                self._bar.update()
        if video.ended and not self.images:
            raise UserError(f"{video.name}: expected a video; {video.ended}")
        if video.ended:
            _log.warning("%s: has ended: %s", video.name, video.ended)
        elif self._next_place == first_place and detection.damage.line is None:
            lasts = "" if video.length is None else f", as it lasts {video.length:.1f} s"
            _log.warning("%s: has no frame from second %g on%s", video.name, config.start, lasts)
        if detection.damage.line is not None and not video.live:  # of a stream the first frames are often damaged
            self.broken.append(detection.damage.line)

    def _picture(self, video: Video, name: str, frame: Frame, first_place: int, began: datetime) -> Picture:
        captured = (began + timedelta(seconds=frame.time)).isoformat(timespec="milliseconds") if video.live else None
        rate = self._run.config.choice.rate(video.rate)
        about = FrameOfVideo(video.name, name, frame.number, round(frame.time, 6), rate, captured)
        return Picture(first_place + frame.number - 1, Path(video.name), f"{name}-f{frame.number:06}", about)

    def _expected(self, sources: Sequence[str], stream: Video | None) -> int | None:
        """About how many frames there will be; None where that is not known of all videos."""
        total = 0
        for source in sources:
            try:
                video = stream or _open(self._run.config, source)
            except UserError:  # which is said when it is its turn
                continue
            frames = self._run.config.choice.expected(video.rate, None if video.live else video.length)
            if stream is None:
                video.close()
            if frames is None:
                return None
            total += frames
        return total


def _open(config: PredictConfig, source: str) -> Video:
    return Video(source, options=config.video_options, live=config.live)
