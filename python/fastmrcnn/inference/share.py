"""The pictures that one of several processes segments."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby

from fastmrcnn import distributed
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.outputs import Output
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.inference.reading import READERS, read_ahead
from fastmrcnn.models import MaskRCNN


@dataclass
class Share:
    """What one process has done."""

    # Pictures that were segmented.
    images: int = 0
    # Instances in all of them.
    detections: int = 0
    # One line per picture that did not decode, by its place among all.
    broken: dict[int, str] = field(default_factory=dict)


def places_of_share(images: int, batch_size: int, rank: int, processes: int) -> list[int]:
    """The images that a process takes: whole batches, as the company of an image moves its scores a little.

    >>> places_of_share(images=7, batch_size=2, rank=1, processes=2)
    [2, 3, 6]
    """
    batches = [range(first, min(first + batch_size, images)) for first in range(0, images, batch_size)]
    return [place for batch in batches[rank::processes] for place in batch]


def predict_share(
    config: PredictConfig, model: MaskRCNN, pictures: Sequence[Picture], outputs: Sequence[Output], progress: bool
) -> Share:
    """Segment the share of this process and add it to its ``outputs``, which are closed then."""
    places = places_of_share(len(pictures), config.batch_size, distributed.rank(), distributed.processes())
    share = Share()
    readable = read_ahead(
        (pictures[place] for place in places),
        model.config.input.pixel_format,
        ahead=READERS + config.batch_size,
        broken=share.broken if config.skip_broken else None,
    )
    with ExitStack() as stack:
        for output in outputs:
            stack.enter_context(output)
        bar = stack.enter_context(
            progress_bar(len(places), "predict", "image", shown=progress and distributed.is_first())
        )
        for _, group in groupby(readable, key=lambda item: item[0].place // config.batch_size):
            batch = list(group)
            images = [image for _, image in batch]
            found = model.predict(images, score_threshold=config.score_threshold, batch_size=len(batch))
            for (picture, image), detections in zip(batch, found, strict=True):
                for output in outputs:
                    output.add(picture, image, detections)
                share.images += 1
                share.detections += len(detections)
                bar.update(share.images + len(share.broken) - bar.n)
    return share
