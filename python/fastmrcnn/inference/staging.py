"""The folder that results are written to before they take their place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import fastmrcnn
from fastmrcnn.errors import UserError
from fastmrcnn.files import check_writable, errors_name, reserve_beside, write_json
from fastmrcnn.inference.config import OutputKind, PredictConfig
from fastmrcnn.inference.outputs import OUTPUTS
from fastmrcnn.models import MaskRCNNConfig

_ABOUT = "predict.json"  # what a run was: the sign that the results beside it are ours
_MOVING = "moving"  # beside the results, from when the first of them takes its place


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A temporary folder to work in, whose results move into ``output`` when the block ends well."""
    check_output(output)
    work = reserve_beside(place_beside(output), directory=True)
    try:
        yield work
        put_in_place(work, output)
    finally:
        shutil.rmtree(work)


def results_in(work: Path) -> Path:
    """Where in a folder to work in the results are; beside them is what only the run itself needs."""
    results = work / "results"
    results.mkdir(exist_ok=True)
    return results


def check_output(output: Path) -> None:
    """Raises ``UserError`` where ``output`` cannot be a folder, or cannot be written to."""
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: expected a folder to write to; this is a file")
    above = next(parent for parent in output.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"{above}: expected a folder for {output}; this is a file")
    if output.is_dir():
        for name in (_ABOUT, *(name for kind in OUTPUTS.values() for name in kind.files if os.sep not in name)):
            check_writable(output / name)


def check_apart(sources: Iterable[str], output: Path, kinds: Collection[OutputKind]) -> None:
    """Raises ``UserError`` for a source that stands where results of these ``kinds`` go, or where an earlier run's are.

    It would be replaced by them, or removed with them.
    """
    root, real_folder = Path(os.path.realpath(output)), cache(os.path.realpath)
    replaced = OUTPUTS if (output / _ABOUT).is_file() else kinds
    patterns = [pattern for kind in replaced for pattern in OUTPUTS[kind].files]
    for source in sources:
        folder, name = os.path.split(source)
        ways = [os.path.join(real_folder(folder), name)]
        if os.path.islink(source):
            ways.append(os.path.realpath(source))
        for way in ways:
            if pattern := _pattern_of(way, root, patterns):
                raise UserError(
                    f"{source}: expected a source that no result replaces; {output / pattern} are results: "
                    "choose another output"
                )


def _pattern_of(path: str, root: Path, patterns: Sequence[str]) -> str | None:
    """Which of the patterns of files below ``root`` a path matches."""
    if not path.startswith(os.path.join(root, "")):  # in a tenth of the time that pathlib takes
        return None
    below = Path(path).relative_to(root)
    fits = (pattern for pattern in patterns if below.match(pattern) and len(below.parts) == len(Path(pattern).parts))
    return next(fits, None)


def place_beside(output: Path) -> Path:
    """A path whose folder has room for what moves into ``output`` later, without being copied.

    That is ``output``'s own, links followed; or ``output`` itself, where nothing moves from one to the other: it may be
    a volume that is mounted there, or alone be writable.
    """
    output = output.resolve()
    if not output.is_dir():
        return output
    try:
        probe = reserve_beside(output, directory=True)
    except UserError:
        return output / output.name
    try:
        os.replace(probe, output / probe.name)
    except OSError:
        probe.rmdir()
        return output / output.name
    (output / probe.name).rmdir()
    return output


def put_in_place(work: Path, output: Path) -> None:
    """Move the results in a folder to work in to ``output``, in place of an earlier run's.

    May be called again where it was interrupted.

    Raises ``UserError`` where a result has no place there.
    """
    results, moving = results_in(work), work / _MOVING
    if not moving.exists():
        remove_earlier_results(output)
        _move(results / _ABOUT, results, output)  # from now on another run in that folder knows what to remove
        moving.touch()
    # What is about all images comes last: whoever waits for predictions.json finds the rest in its place.
    for folder, _, names in os.walk(results, topdown=False):
        for name in sorted(names):
            _move(Path(folder, name), results, output)


def was_put_in_place(work: Path, output: Path) -> bool:
    """Whether some results have moved to ``output`` already and are there no more."""
    return (work / _MOVING).exists() and not (output / _ABOUT).is_file()


def _move(source: Path, results: Path, output: Path) -> None:
    target = output / source.relative_to(results)
    with errors_name(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)


def earlier_results(output: Path) -> Iterator[Path]:
    """The files that an earlier run left in ``output``, but for the one that says so."""
    if not (output / _ABOUT).is_file():
        return  # what is there is somebody else's
    for pattern in (pattern for kind in OUTPUTS.values() for pattern in kind.files):
        found = [str(path) for path in output.glob(pattern)]  # before one is removed, and without the weight of paths
        yield from map(Path, found)


def remove_earlier_results(output: Path) -> None:
    """Overlays and ids of an earlier run in the same folder would pass for this one's."""
    for earlier in earlier_results(output):
        earlier.unlink(missing_ok=True)
        _remove_empty_folders(earlier.parent, output)
    (output / _ABOUT).unlink(missing_ok=True)


def _remove_empty_folders(folder: Path, root: Path) -> None:
    """The folder and those above it, below ``root``, as far as nothing is left in them."""
    while folder != root:
        try:
            folder.rmdir()  # without a look into it, which would take as long as it holds files
        except OSError:
            return  # something is in there
        folder = folder.parent


# Options that are named where they are used.
_HOW_IT_LOOKED = ("tile", "overlap", "overview", "max_detections", "nms", "nms_iou", "tta_scales", "tta_flip")


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
