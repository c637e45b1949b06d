"""The folder of a run that is not finished: results gather there, and the same command finds what is done."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastmrcnn
from fastmrcnn.errors import UserError
from fastmrcnn.files import owned_directory, read_json, write_json
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.journal import (
    Finished,
    check_nobody_writes,
    cut_off_the_rest,
    read_journals,
    stamp_of_file,
)
from fastmrcnn.inference.pictures import Pictures
from fastmrcnn.inference.staging import check_output, place_beside, put_in_place, was_put_in_place

_RUN = "run.json"  # what the unfinished run is
# Options that change nothing in the results of a picture that is done.
_FREE = ("images", "output", "readers", "device", "skip_broken")

_log = logging.getLogger(__name__)


@contextmanager
def unfinished_run(config: PredictConfig, pictures: Pictures, window: int) -> Iterator[tuple[Path, Finished]]:
    """The folder to work in, whose results move into ``config.output`` when the block ends well, and what is finished.

    Where the block fails, or the moving, the folder stays as ``.NAME.unfinished`` beside ``config.output`` if any
    picture is done, for a run of the same options on the same files; another one begins anew. Where ``config.output``
    is a mounted volume, it is in there.

    Raises ``UserError`` where ``config.output`` is a file, and where another process is at work.
    """
    check_output(config.output)
    beside = place_beside(config.output)
    folder = beside.with_name(f".{beside.name}.unfinished")
    with owned_directory(folder):
        finished = _earlier(folder, config, pictures, window)
        try:
            yield folder, finished
            put_in_place(folder, config.output.resolve())
            (folder / _RUN).unlink()  # nobody goes on from what is left
        except BaseException as error:
            _leave(folder, pictures, window, may_skip=isinstance(error, UserError) and not config.skip_broken)
            raise
        shutil.rmtree(folder)


def _earlier(folder: Path, config: PredictConfig, pictures: Pictures, window: int) -> Finished:
    """What is finished of this run; otherwise the folder is empty then."""
    about = _about(config, pictures)
    check_nobody_writes(folder)
    if (folder / _RUN).is_file():
        try:
            same = read_json(folder / _RUN) == about and not was_put_in_place(folder, config.output)
            finished = read_journals(folder, pictures, window) if same else None
        except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError):
            finished = None
        if finished is not None and (config.skip_broken or not finished.share.broken):
            cut_off_the_rest(folder, finished)
            if finished.share.count:
                _log.info("%s: goes on, %d of %d images are done", config.output, finished.share.count, len(pictures))
            return finished
        _log.warning("%s: begins anew, as options or images differ from those of the interrupted run", config.output)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
    write_json(folder / _RUN, about)
    return Finished(bytearray(-(-len(pictures) // window)))


def _about(config: PredictConfig, pictures: Pictures) -> dict[str, Any]:
    """What the results of a picture depend on, as JSON has it; the files of pictures are the journals' matter."""
    options = {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE}
    files = [Path(config.weights), *([] if config.annotations is None else [config.annotations])]
    return {
        "fastmrcnn": fastmrcnn.__version__,
        "options": {name: repr(value) for name, value in options.items()},
        "files": [repr(stamp_of_file(path)) for path in files],
        "pictures": len(pictures),
    }


def _leave(folder: Path, pictures: Pictures, window: int, may_skip: bool) -> None:
    """Keep the folder of a run that failed if anything in it is of use. Other processes may not have ended yet."""
    try:
        finished = read_journals(folder, pictures, window)
    except (OSError, ValueError, KeyError):  # which the next run may read
        return
    if finished is None or not finished.share.count:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _log.warning(
            "%d of %d images are done; the same command goes on from there%s",
            finished.share.count,
            len(pictures),
            ", with --skip-broken past images that do not decode" if may_skip else "",
        )
