"""The folder that results are written to before they take their place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fastmrcnn
from fastmrcnn.errors import UserError
from fastmrcnn.files import reserve_beside, write_json
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.outputs import OUTPUTS
from fastmrcnn.models import MaskRCNNConfig

_ABOUT = "predict.json"  # what a run was: the sign that the results beside it are ours


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A temporary folder beside ``output`` whose files move into ``output`` when the block ends well."""
    check_output(output)
    staging = reserve_beside(output, directory=True)
    try:
        yield staging
        put_in_place(staging, output)
    finally:
        shutil.rmtree(staging)


def check_output(output: Path) -> None:
    """Raises ``UserError`` where ``output`` cannot be a folder."""
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: expected a folder to write to; this is a file")
    above = next(parent for parent in output.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"{above}: expected a folder for {output}; this is a file")


def put_in_place(folder: Path, output: Path) -> None:
    """Move what is in ``folder`` to ``output``, in place of an earlier run's results."""
    remove_earlier_results(output)
    # What is about all images comes last: whoever waits for predictions.json finds the rest in its place.
    for source in sorted(folder.rglob("*"), key=lambda path: (path.parent == folder, path)):
        if source.name != ".lock" and (source.is_file() or source.is_symlink()):
            target = output / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)


def remove_earlier_results(output: Path) -> None:
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


# Options that are named where they are used.
_HOW_IT_LOOKED = ("tile", "overlap", "max_detections", "nms", "nms_iou", "tta_scales", "tta_flip")


def write_about(folder: Path, config: PredictConfig, model: MaskRCNNConfig, images: int, instances: int) -> None:
    """Write ``predict.json`` to ``folder``: what a run was, and what it found."""
    about = {
        "fastmrcnn": fastmrcnn.__version__,
        "weights": config.weights,
        "classes": list(model.class_names),
        "score_threshold": config.score_threshold,
        **{name: getattr(config, name) for name in _HOW_IT_LOOKED if getattr(config, name) not in (None, (), False)},
        "save": list(config.save),
        "tolerance": config.tolerance,
        "images": images,
        "instances": instances,
    }
    write_json(folder / _ABOUT, about, indent=1)
