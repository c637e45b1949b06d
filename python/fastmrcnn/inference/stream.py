"""Segment files, folders and globs: all results appear together when the last image is done."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fastmrcnn import distributed
from fastmrcnn.errors import UserError
from fastmrcnn.files import reserve_beside
from fastmrcnn.inference.coco_ids import ids_of_file, numbered
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.inference.outputs import EVERY_KIND, Run, chosen
from fastmrcnn.inference.pictures import Pictures
from fastmrcnn.inference.share import predict_share
from fastmrcnn.inference.sources import image_files
from fastmrcnn.weights import load_model


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

    Of several processes, which torchrun starts, every one calls this and segments its share; the files and what is
    returned are those of one process.

    Raises:
        UserError: a source without images, an image that does not decode or has no id, weights that do not load.

    >>> from fastmrcnn.inference import PredictConfig, predict_files
    >>> predict_files(PredictConfig(images=("photos", "more/*.png")))  # doctest: +SKIP
    """
    start = time.monotonic()
    distributed.join()
    paths = image_files(config.images)
    model = load_model(config.weights, device=resolve_device(config.device))
    pictures = Pictures(paths, model.config.input.pixel_format)
    ids = (
        numbered(pictures, model.config)
        if config.annotations is None
        else ids_of_file(config.annotations, pictures, model.config)
    )
    with ExitStack() as stack:
        folder = distributed.from_first(lambda: stack.enter_context(_staged(config.output)))
        outputs = [kind(Run(config, folder, ids)) for kind in chosen(config)]
        shares = distributed.gather(predict_share(config, model, pictures, outputs, progress))
        for output in outputs if distributed.is_first() else ():
            output.finish()
    shares = distributed.from_first(lambda: shares)  # when all is in its place
    broken = dict(item for share in shares for item in share.broken.items())
    return PredictSummary(
        output=config.output,
        images=sum(share.images for share in shares),
        detections=sum(share.detections for share in shares),
        broken=[broken[place] for place in sorted(broken)],
        seconds=time.monotonic() - start,
    )


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
    for pattern in (pattern for kind in EVERY_KIND for pattern in kind.files):
        for earlier in output.glob(pattern):
            earlier.unlink(missing_ok=True)
