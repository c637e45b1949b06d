"""Segment files, folders and globs: all results appear together when the last image is done."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fastmrcnn
from fastmrcnn import distributed
from fastmrcnn.deployment import optimize
from fastmrcnn.errors import UserError
from fastmrcnn.files import reserve_beside, write_json
from fastmrcnn.inference.coco_ids import ids_of_file, numbered
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.inference.outputs import OUTPUTS, Run, chosen
from fastmrcnn.inference.pictures import Pictures
from fastmrcnn.inference.share import Share, predict_share
from fastmrcnn.inference.sources import image_files
from fastmrcnn.models import MaskRCNN
from fastmrcnn.structures import as_image_tensor
from fastmrcnn.weights import load_model

_ABOUT = "predict.json"  # what a run was: the sign that the results beside it are ours


@dataclasses.dataclass(frozen=True)
class PredictSummary:
    """What a prediction run found and wrote."""

    # Folder with the results.
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

    ``config.save`` says in which forms; each is described in its module of :mod:`fastmrcnn.inference.outputs`.
    Image and category ids of COCO results come from ``config.annotations``, by file name and class name; without it,
    images are numbered from 1, classes have the model's ids, and ``images.json`` is the COCO document that both belong
    to. Everything appears when the last image is done, in place of an earlier run's results: a run that fails leaves
    nothing behind. ``predict.json`` says what the run was.

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
    if config.fast:
        model = _made_fast(model, pictures)
    ids = (
        numbered(pictures, model.config)
        if config.annotations is None
        else ids_of_file(config.annotations, pictures, model.config)
    )
    with ExitStack() as stack:
        folder = distributed.from_first(lambda: stack.enter_context(_staged(config.output)))
        run = Run(config, folder, ids, model.config.class_names)
        outputs = [kind(run) for kind in chosen(config)]
        shares = distributed.gather(predict_share(config, model, pictures, outputs, progress))
        if distributed.is_first():
            for output in outputs:
                output.finish()
            write_json(folder / _ABOUT, _describe(config, model, shares), indent=1)
    shares = distributed.from_first(lambda: shares)  # when all is in its place
    broken = dict(item for share in shares for item in share.broken.items())
    return PredictSummary(
        output=config.output,
        images=sum(share.images for share in shares),
        detections=sum(share.detections for share in shares),
        broken=[broken[place] for place in sorted(broken)],
        seconds=time.monotonic() - start,
    )


def _made_fast(model: MaskRCNN, pictures: Pictures) -> MaskRCNN:
    """The model optimised, which logs what was done and the deviation that the first picture shows."""
    pixel_format = model.config.input.pixel_format
    try:
        sample = [as_image_tensor(picture.source, pixel_format) for picture in pictures[:1]]
    except UserError:  # which is said when it is its turn
        sample = []
    return optimize(model, sample=sample or None)


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A temporary folder beside ``output`` whose files move into ``output`` when the block ends well."""
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: expected a folder to write to; this is a file")
    staging = reserve_beside(output, directory=True)
    try:
        yield staging
        _remove_earlier_results(output)
        # What is about all images comes last: whoever waits for predictions.json finds the rest in its place.
        for source in sorted(staging.rglob("*"), key=lambda path: (path.parent == staging, path)):
            if source.is_file() or source.is_symlink():
                target = output / source.relative_to(staging)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
    finally:
        shutil.rmtree(staging)


def _remove_earlier_results(output: Path) -> None:
    """Overlays and ids of an earlier run in the same folder would pass for this one's."""
    if not (output / _ABOUT).is_file():
        return  # what is there is somebody else's
    for pattern in (pattern for kind in OUTPUTS.values() for pattern in kind.files):
        for earlier in list(output.glob(pattern)):
            earlier.unlink(missing_ok=True)
            _remove_empty_folders(earlier.parent, output)
    (output / _ABOUT).unlink()


def _remove_empty_folders(folder: Path, root: Path) -> None:
    """The folder and those above it, below ``root``, as far as nothing is left in them."""
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _describe(config: PredictConfig, model: MaskRCNN, shares: Sequence[Share]) -> dict[str, Any]:
    return {
        "fastmrcnn": fastmrcnn.__version__,
        "weights": config.weights,
        "classes": list(model.config.class_names),
        "score_threshold": config.score_threshold,
        "save": list(config.save),
        "tolerance": config.tolerance,
        "images": sum(share.images for share in shares),
        "instances": sum(share.detections for share in shares),
    }
