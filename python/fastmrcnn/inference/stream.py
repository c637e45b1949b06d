"""Segment files, folders and globs, one bounded batch after the other."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from fastmrcnn.errors import UserError
from fastmrcnn.files import reserve_beside, write_json
from fastmrcnn.inference.coco_ids import ids_of_file, numbered
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.inference.results import ResultsWriter
from fastmrcnn.inference.sources import find_images, unique_stems
from fastmrcnn.models import MaskRCNN
from fastmrcnn.structures import RGB, Detections, PixelFormat, read_image
from fastmrcnn.weights import load_model

READERS = 2  # threads that decode images ahead of the network


@dataclasses.dataclass(frozen=True)
class PredictSummary:
    """What a prediction run found and wrote."""

    # Folder with overlays/, predictions.json and, for images without given ids, images.json.
    output: Path
    # Images that were segmented.
    images: int
    # Instances found in all of them.
    detections: int
    # One line per image that did not decode (with skip_broken).
    broken: list[str]
    # Wall-clock seconds, reading and writing included.
    seconds: float


def predict_files(config: PredictConfig, *, progress: bool = True) -> PredictSummary:
    """Segment ``config.images`` and write the results under ``config.output``.

    ``predictions.json`` holds the COCO results of all images, ``overlays/NAME.jpg`` the image with its instances drawn.
    Image and category ids come from ``config.annotations``, by file name and class name; without it, images are
    numbered from 1, classes have the model's ids, and ``images.json`` is the COCO document that both belong to.
    Everything appears when the last image is done, in place of an earlier run's results: a run that fails leaves
    nothing behind.

    Raises:
        UserError: a source without images, an image that does not decode or has no id, weights that do not load.

    >>> from fastmrcnn.inference import PredictConfig, predict_files
    >>> predict_files(PredictConfig(images=("photos", "more/*.png")))  # doctest: +SKIP
    """
    start = time.monotonic()
    paths = find_images(config.images)
    model = load_model(config.weights, device=resolve_device(config.device))
    ids = (
        numbered(paths, model.config)
        if config.annotations is None
        else ids_of_file(config.annotations, paths, model.config)
    )
    broken: list[str] = []
    images: list[dict[str, Any]] = []
    detections = 0
    with _staged(config.output) as folder:
        with (folder / "predictions.json").open("w", encoding="utf-8") as stream, ResultsWriter(stream) as results:
            names = dict(zip(paths, unique_stems(paths), strict=True))
            readable = read_ahead(
                paths,
                model.config.input.pixel_format,
                ahead=READERS + config.batch_size,
                broken=broken if config.skip_broken else None,
            )
            with progress_bar(len(paths), "predict", "image", shown=progress) as bar:
                for path, found in predict_images(
                    model, readable, score_threshold=config.score_threshold, batch_size=config.batch_size
                ):
                    results.extend(ids.results(path, found))
                    if config.overlays:
                        found.plot().save(_overlay_path(folder, names[path]), quality=92)
                    height, width = found.image_size
                    images.append({"id": ids.image_of[path], "file_name": str(path), "height": height, "width": width})
                    detections += len(found)
                    bar.update(len(images) + len(broken) - bar.n)
        if config.annotations is None:
            categories = [{"id": number, "name": name} for name, number in ids.category_of.items()]
            document = {"images": images, "annotations": [], "categories": categories}
            write_json(folder / "images.json", document, indent=1)
    return PredictSummary(config.output, len(images), detections, broken, time.monotonic() - start)


def predict_images(
    model: MaskRCNN,
    images: Iterable[tuple[Path, torch.Tensor]],
    *,
    score_threshold: float | None = None,
    batch_size: int = 1,
) -> Iterator[tuple[Path, Detections]]:
    """The detections of each of ``images`` (path, [C, H, W]) in order, computed ``batch_size`` at a time."""
    stream = iter(images)
    while batch := list(islice(stream, batch_size)):
        found = model.predict([image for _, image in batch], score_threshold=score_threshold, batch_size=batch_size)
        for (path, _), detections in zip(batch, found, strict=True):
            yield path, detections


def read_ahead(
    paths: Iterable[Path], pixel_format: PixelFormat = RGB, *, ahead: int, broken: list[str] | None = None
) -> Iterator[tuple[Path, torch.Tensor]]:
    """Each path with its image, [C, H, W]; up to ``ahead`` images are decoded before they are asked for.

    An image that does not decode raises ``UserError``, or is left out with its message appended to ``broken``.
    """
    waiting: deque[tuple[Path, Future[torch.Tensor]]] = deque()
    remaining = iter(paths)
    with ThreadPoolExecutor(READERS, thread_name_prefix="read_image") as pool:
        try:
            while True:
                for path in islice(remaining, ahead - len(waiting)):
                    waiting.append((path, pool.submit(read_image, path, pixel_format)))
                if not waiting:
                    return
                path, future = waiting.popleft()
                try:
                    image = future.result()
                except UserError as error:
                    if broken is None:
                        raise
                    broken.append(str(error))
                    continue
                yield path, image
        finally:
            for _, future in waiting:
                future.cancel()


def _overlay_path(folder: Path, name: str) -> Path:
    (folder / "overlays").mkdir(exist_ok=True)
    return folder / "overlays" / f"{name}.jpg"


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A temporary folder beside ``output`` whose files move into ``output`` when the block ends well."""
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: expected a folder to write to; this is a file")
    staging = reserve_beside(output, directory=True)
    try:
        yield staging
        _remove_earlier_results(output)
        for source in sorted(staging.rglob("*")):  # by name: predictions.json comes last, after its overlays
            if source.is_file():
                target = output / source.relative_to(staging)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
    finally:
        shutil.rmtree(staging)


def _remove_earlier_results(output: Path) -> None:
    """Overlays and ids of an earlier run in the same folder would pass for this one's."""
    if not (output / "predictions.json").is_file():
        return
    for earlier in [*(output / "overlays").glob("*.jpg"), output / "images.json", output / "predictions.json"]:
        earlier.unlink(missing_ok=True)
