"""The images that one of several processes segments, and how their results become one file again."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from fastmrcnn import distributed
from fastmrcnn.inference.coco_ids import CocoIds
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.inference.reading import READERS, read_ahead
from fastmrcnn.inference.results import ResultsWriter, as_line
from fastmrcnn.inference.sources import unique_stems
from fastmrcnn.models import MaskRCNN


@dataclass
class Share:
    """What one process has done: by the place of each image among all, in their order."""

    # One COCO result a line, image after image.
    results: Path
    # What images.json says of each image, and how many results it has.
    images: dict[int, tuple[dict[str, Any], int]] = field(default_factory=dict)
    # One line per image that did not decode.
    broken: dict[int, str] = field(default_factory=dict)
    # Instances in all of its images.
    detections: int = 0


def places_of_share(images: int, batch_size: int, rank: int, processes: int) -> list[int]:
    """The images that a process takes: whole batches, as the company of an image moves its scores a little.

    >>> places_of_share(images=7, batch_size=2, rank=1, processes=2)
    [2, 3, 6]
    """
    batches = [range(first, min(first + batch_size, images)) for first in range(0, images, batch_size)]
    return [place for batch in batches[rank::processes] for place in batch]


def predict_share(
    config: PredictConfig, model: MaskRCNN, ids: CocoIds, paths: Sequence[Path], folder: Path, progress: bool
) -> Share:
    """Segment the share of this process, with overlays and results in ``folder``."""
    places = places_of_share(len(paths), config.batch_size, distributed.rank(), distributed.processes())
    place_of, names = {paths[place]: place for place in places}, unique_stems(paths)
    broken: list[str] = []
    readable = read_ahead(
        [paths[place] for place in places],
        model.config.input.pixel_format,
        ahead=READERS + config.batch_size,
        broken=broken if config.skip_broken else None,
    )
    share = Share(folder / f"results-{distributed.rank()}")
    with (
        share.results.open("w", encoding="utf-8") as stream,
        progress_bar(len(places), "predict", "image", shown=progress and distributed.is_first()) as bar,
    ):
        for _, group in groupby(readable, key=lambda item: place_of[item[0]] // config.batch_size):
            batch = list(group)
            images = [image for _, image in batch]
            found = model.predict(images, score_threshold=config.score_threshold, batch_size=len(batch))
            for (path, _), detections in zip(batch, found, strict=True):
                lines = [f"{as_line(result)}\n" for result in ids.results(path, detections)]
                stream.writelines(lines)
                if config.overlays:
                    detections.plot().save(_overlay_path(folder, names[place_of[path]]), quality=92)
                height, width = detections.image_size
                about = {"id": ids.image_of[path], "file_name": str(path), "height": height, "width": width}
                share.images[place_of[path]] = about, len(lines)
                share.detections += len(detections)
                bar.update(len(share.images) + len(broken) - bar.n)
    unread = [place for place in places if place not in share.images]
    share.broken = dict(zip(unread, broken, strict=True))
    return share


def merge_results(shares: Sequence[Share], target: Path) -> None:
    """One JSON array of the results of all shares, in the order of the images."""
    with target.open("w", encoding="utf-8") as stream, ResultsWriter(stream) as results:
        for _, lines in heapq.merge(*map(_results_of_images, shares), key=lambda item: item[0]):
            results.copy(lines)
    for share in shares:
        share.results.unlink()


def _results_of_images(share: Share) -> Iterator[tuple[int, list[str]]]:
    with share.results.open(encoding="utf-8") as stream:
        for place, (_, count) in share.images.items():
            yield place, [next(stream).rstrip("\n") for _ in range(count)]


def _overlay_path(folder: Path, name: str) -> Path:
    (folder / "overlays").mkdir(exist_ok=True)
    return folder / "overlays" / f"{name}.jpg"
