"""The pictures that one of several processes segments."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

from tqdm import tqdm

from fastmrcnn import distributed
from fastmrcnn.errors import UserError
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.journal import Finished, Journal, Share, window_places
from fastmrcnn.inference.outputs import Output, Run
from fastmrcnn.inference.outputs.pixels import Pixels
from fastmrcnn.inference.pictures import Picture, Pictures
from fastmrcnn.inference.progress import note, progress_bar
from fastmrcnn.inference.tiles import predict_windows
from fastmrcnn.inference.writing import WriteBehind
from fastmrcnn.models.ahead import number_of_readers
from fastmrcnn.models.detect_stream import detect_stream
from fastmrcnn.models.detector import Detector
from fastmrcnn.structures import Detections
from fastmrcnn.structures.windows import open_windows


def windows_of_share(finished: Sequence[int], rank: int, processes: int) -> list[int]:
    """The windows of images that a process takes, of those that are not ``finished``: whole ones, as the company of an
    image moves its scores a little.

    >>> windows_of_share([0, 0, 1, 0, 0], rank=1, processes=2)
    [1, 4]
    """
    return [window for window, done in enumerate(finished) if not done][rank::processes]


def predict_share(
    run: Run, detector: Detector, pictures: Pictures, outputs: Sequence[Output], finished: Finished, progress: bool
) -> Share:
    """Segment this process's share of what is not finished, and add it to its ``outputs``, which are closed then."""
    config, size = run.config, run.parts.window
    windows = windows_of_share(finished.windows, distributed.rank(), distributed.processes())
    left = [window_places(window, size, len(pictures)) for window in windows]
    threads = number_of_readers(config.readers, detector.transform.mean.device)
    with ExitStack() as stack:
        for output in outputs:
            stack.enter_context(output)
        stack.enter_context(closing(run.parts))
        journal = stack.enter_context(closing(Journal(run.parts, pictures)))
        shown = progress and distributed.is_first()
        bar = stack.enter_context(progress_bar(sum(map(len, left)), "predict", " images", shown=shown))
        # A picture in tiles is written while its file is open, which one thread reads.
        with WriteBehind(outputs, 0 if config.tile else threads) as writer:
            own = (pictures[place] for places in left for place in places)
            broken = (lambda *about: writer.then(partial(journal.broken, *about))) if config.skip_broken else None
            stream: Generator[tuple[Picture, Pixels, Detections], None, None]
            if config.tile is not None:
                stream = _in_tiles(config, detector, own, broken, bar)
            else:
                stream = detect_stream(
                    detector,
                    ((picture, picture.source) for picture in own),
                    score_threshold=config.score_threshold,
                    batch_size=config.batch_size,
                    readers=threads,
                    broken=broken,
                )
            for picture, image, detections in stack.enter_context(closing(stream)):
                writer.add(picture, image, detections)
                writer.then(partial(journal.segmented, picture, len(detections), run.parts.sizes()))
                bar.update(journal.count - bar.n)
        bar.update(journal.count - bar.n)
    return journal.noted


def _in_tiles(
    config: PredictConfig,
    detector: Detector,
    pictures: Iterable[Picture],
    broken: Callable[[Picture, UserError], None] | None,
    bar: tqdm[Any],
) -> Generator[tuple[Picture, Pixels, Detections], None, None]:
    """Each picture with what reads it and what was found in its tiles; the bar tells how many of these are done."""
    assert config.tile is not None
    for picture in pictures:
        try:
            with open_windows(picture.source, detector.config.input.pixel_format) as windows:
                found = predict_windows(
                    detector,
                    windows,
                    tile=config.tile,
                    overlap=config.overlap,
                    overview=config.overview,
                    score_threshold=config.score_threshold,
                    batch_size=config.batch_size,
                    on_tiles=lambda done, count: note(bar, f"tile {done}/{count}"),
                )
                yield picture, windows, found
        except UserError as error:
            if broken is None:
                raise
            broken(picture, error)
