"""The pictures that one of several processes segments."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial

from fastmrcnn import distributed
from fastmrcnn.inference.journal import Finished, Journal, Share, window_places
from fastmrcnn.inference.outputs import Output, Run
from fastmrcnn.inference.pictures import Pictures
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.inference.writing import WriteBehind
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.ahead import default_readers
from fastmrcnn.models.detect_stream import detect_stream


def windows_of_share(finished: Sequence[int], rank: int, processes: int) -> list[int]:
    """The windows of images that a process takes, of those that are not ``finished``: whole ones, as the company of an
    image moves its scores a little.

    >>> windows_of_share([0, 0, 1, 0, 0], rank=1, processes=2)
    [1, 4]
    """
    return [window for window, done in enumerate(finished) if not done][rank::processes]


def predict_share(
    run: Run, model: MaskRCNN, pictures: Pictures, outputs: Sequence[Output], finished: Finished, progress: bool
) -> Share:
    """Segment this process's share of what is not finished, and add it to its ``outputs``, which are closed then."""
    config, size = run.config, run.parts.window
    windows = windows_of_share(finished.windows, distributed.rank(), distributed.processes())
    left = [window_places(window, size, len(pictures)) for window in windows]
    threads = default_readers(model.transform.mean.device) if config.readers is None else config.readers
    with ExitStack() as stack:
        for output in outputs:
            stack.enter_context(output)
        stack.enter_context(closing(run.parts))
        journal = stack.enter_context(closing(Journal(run.parts, pictures)))
        shown = progress and distributed.is_first()
        bar = stack.enter_context(progress_bar(sum(map(len, left)), "predict", " images", shown=shown))
        with WriteBehind(outputs, threads) as writer:
            stream = detect_stream(
                model,
                ((picture, picture.source) for places in left for picture in map(pictures.__getitem__, places)),
                score_threshold=config.score_threshold,
                batch_size=config.batch_size,
                readers=threads,
                broken=(lambda *about: writer.then(partial(journal.broken, *about))) if config.skip_broken else None,
            )
            for picture, image, detections in stack.enter_context(closing(stream)):
                writer.add(picture, image, detections)
                writer.then(partial(journal.segmented, picture, len(detections), run.parts.sizes()))
                bar.update(journal.count - bar.n)
        bar.update(journal.count - bar.n)
    return journal.noted
