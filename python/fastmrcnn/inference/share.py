"""The pictures that one of several processes segments."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from fastmrcnn import distributed
from fastmrcnn.errors import UserError
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.outputs import Output
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.inference.writing import WriteBehind
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.ahead import default_readers
from fastmrcnn.models.batching import window_of
from fastmrcnn.models.detect_stream import detect_stream


@dataclass
class Share:
    """What one process has done."""

    # Pictures that were segmented.
    images: int = 0
    # Instances in all of them.
    detections: int = 0
    # One line per picture that did not decode, by its place among all.
    broken: dict[int, str] = field(default_factory=dict)

    def add_broken(self, picture: Picture, error: UserError) -> None:
        self.broken[picture.place] = str(error)


def places_of_share(images: int, window: int, rank: int, processes: int) -> list[range]:
    """The images that a process takes: whole windows, as the company of an image moves its scores a little.

    >>> places_of_share(images=7, window=2, rank=1, processes=2)
    [range(2, 4), range(6, 7)]
    """
    windows = range(0, images, window)[rank::processes]
    return [range(first, min(first + window, images)) for first in windows]


def predict_share(
    config: PredictConfig, model: MaskRCNN, pictures: Sequence[Picture], outputs: Sequence[Output], progress: bool
) -> Share:
    """Segment the share of this process and add it to its ``outputs``, which are closed then."""
    windows = places_of_share(len(pictures), window_of(config.batch_size), distributed.rank(), distributed.processes())
    threads = default_readers(model.transform.mean.device) if config.readers is None else config.readers
    share = Share()
    stream = detect_stream(
        model,
        ((picture, picture.source) for places in windows for picture in map(pictures.__getitem__, places)),
        score_threshold=config.score_threshold,
        batch_size=config.batch_size,
        readers=threads,
        broken=share.add_broken if config.skip_broken else None,
    )
    with ExitStack() as stack:
        for output in outputs:
            stack.enter_context(output)
        writer = stack.enter_context(WriteBehind(outputs, threads))
        shown = progress and distributed.is_first()
        bar = stack.enter_context(progress_bar(sum(map(len, windows)), "predict", " images", shown=shown))
        for picture, image, detections in stack.enter_context(closing(stream)):
            writer.add(picture, image, detections)
            share.images += 1
            share.detections += len(detections)
            bar.update(share.images + len(share.broken) - bar.n)
    return share
