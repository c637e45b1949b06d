"""Segment files, folders and globs, one bounded batch after the other."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch

from fastmrcnn.errors import UserError
from fastmrcnn.files import read_json, write_json
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.inference.results import ResultsWriter
from fastmrcnn.inference.sources import find_images, unique_stems
from fastmrcnn.models import MaskRCNN
from fastmrcnn.structures import Detections, read_image
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
    Image ids come from ``config.annotations``; without it, images are numbered from 1 and ``images.json`` says which
    file has which id. Everything appears when the last image is done: a run that fails leaves nothing behind.

    Raises:
        UserError: a source without images, an image that does not decode or has no id, weights that do not load.

    >>> from fastmrcnn.inference import PredictConfig, predict_files
    >>> predict_files(PredictConfig(images=("photos", "more/*.png")))  # doctest: +SKIP
    """
    start = time.monotonic()
    paths = find_images(config.images)
    ids = _image_ids(paths, config.annotations)
    model = load_model(config.weights, device=resolve_device(config.device))
    broken: list[str] = []
    images = detections = 0
    with _staged(config.output) as folder:
        with (folder / "predictions.json").open("w", encoding="utf-8") as stream, ResultsWriter(stream) as results:
            names = dict(zip(paths, unique_stems(paths), strict=True))
            readable = read_ahead(
                paths, ahead=READERS + config.batch_size, broken=broken if config.skip_broken else None
            )
            with progress_bar(len(paths), "predict", "image", shown=progress) as bar:
                for path, found in predict_images(
                    model, readable, score_threshold=config.score_threshold, batch_size=config.batch_size
                ):
                    results.extend(found.to_coco(ids[path]))
                    if config.overlays:
                        found.plot().save(_overlay_path(folder, names[path]), quality=92)
                    images += 1
                    detections += len(found)
                    bar.update(images + len(broken) - bar.n)
        if config.annotations is None:
            write_json(folder / "images.json", [{"id": ids[path], "file_name": str(path)} for path in paths], indent=1)
    for line in broken:
        bar.write(f"skipped: {line}")
    return PredictSummary(config.output, images, detections, broken, time.monotonic() - start)


def predict_images(
    model: MaskRCNN,
    images: Iterable[tuple[Path, torch.Tensor]],
    *,
    score_threshold: float | None = None,
    batch_size: int = 1,
) -> Iterator[tuple[Path, Detections]]:
    """The detections of each of ``images`` (path, uint8 [3, H, W]) in order, computed ``batch_size`` at a time."""
    stream = iter(images)
    while batch := list(islice(stream, batch_size)):
        found = model.predict([image for _, image in batch], score_threshold=score_threshold, batch_size=batch_size)
        for (path, _), detections in zip(batch, found, strict=True):
            yield path, detections


def read_ahead(
    paths: Iterable[Path], *, ahead: int, broken: list[str] | None = None
) -> Iterator[tuple[Path, torch.Tensor]]:
    """Each path with its image, uint8 [3, H, W]; up to ``ahead`` images are decoded before they are asked for.

    An image that does not decode raises ``UserError``, or is left out with its message appended to ``broken``.
    """
    waiting: deque[tuple[Path, Future[torch.Tensor]]] = deque()
    remaining = iter(paths)
    with ThreadPoolExecutor(READERS, thread_name_prefix="read_image") as pool:
        try:
            while True:
                for path in islice(remaining, ahead - len(waiting)):
                    waiting.append((path, pool.submit(read_image, path)))
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


def _image_ids(paths: list[Path], annotations: Path | None) -> dict[Path, int]:
    """The COCO image id of each path."""
    if annotations is None:
        return {path: number for number, path in enumerate(paths, 1)}
    document = read_json(annotations, expected="COCO annotations")
    try:
        known = {image["file_name"]: int(image["id"]) for image in document["images"]}
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{annotations}: expected 'images' with 'id' and 'file_name'") from None
    by_name = {Path(name).name: number for name, number in known.items()}
    ids = {}
    for path in paths:
        number = next((known[name] for name in _trailing_paths(path) if name in known), by_name.get(path.name))
        if number is None:
            raise UserError(f"{path}: expected an image that {annotations} lists; there is no such file_name")
        ids[path] = number
    return ids


def _trailing_paths(path: Path) -> list[str]:
    """``a/b/c.jpg``, ``b/c.jpg``, ``c.jpg``: a file name in COCO JSON may be relative to any parent folder."""
    return ["/".join(path.parts[start:]) for start in range(len(path.parts))]


def _overlay_path(folder: Path, name: str) -> Path:
    (folder / "overlays").mkdir(exist_ok=True)
    return folder / "overlays" / f"{name}.jpg"


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A temporary folder beside ``output`` whose files move into ``output`` when the block ends well."""
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: expected a folder to write to; this is a file")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror}") from None
    try:
        yield staging
        for source in sorted(staging.rglob("*"), reverse=True):  # predictions.json after its overlays
            if source.is_file():
                target = output / source.relative_to(staging)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
    finally:
        shutil.rmtree(staging)
