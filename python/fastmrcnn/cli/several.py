"""A command in several processes, as ``torchrun -m fastmrcnn`` starts them: one talks, and an error is told once."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence

from fastmrcnn import distributed
from fastmrcnn.cli.arguments import parse
from fastmrcnn.cli.commands import Evaluate, Predict, Train
from fastmrcnn.errors import UserError

EXIT_FAILED = 1


def run_with_others(words: Sequence[str]) -> None:
    """The command that ``words`` name, with its work divided among the processes.

    Raises what the command raises for the user to see; ``SystemExit`` after any other failure, which the first process
    to fail has told.
    """
    distributed.join()
    first = distributed.is_first()
    with _nothing_printed(unless=first), _no_complaints(unless=first):
        command = parse(words)
    if not isinstance(command, Train | Evaluate | Predict):
        name = type(command).__name__.lower()
        raise UserError(f"{name}: runs in one process; start it without torchrun")
    try:
        with _nothing_printed(unless=first):
            command.run()
        distributed.leave()
    except distributed.OtherProcessFailedError:
        distributed.wait_for_reason()
        raise SystemExit(EXIT_FAILED) from None
    except Exception as error:
        if isinstance(error, UserError) or (isinstance(error, OSError) and error.strerror is not None):
            raise
        if distributed.is_first_to_fail():
            _tell(error)
        raise SystemExit(EXIT_FAILED) from None


def _tell(error: Exception) -> None:
    if distributed.is_lost_process(error):
        print("fastmrcnn: error: another process of this run has ended, and did not say why", file=sys.stderr)
    else:
        print("".join(traceback.format_exception(error)), file=sys.stderr)


@contextlib.contextmanager
def _nothing_printed(*, unless: bool) -> Iterator[None]:
    """What commands print is the same in all processes."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(sys.stdout if unless else nowhere):
        yield


@contextlib.contextmanager
def _no_complaints(*, unless: bool) -> Iterator[None]:
    """So are usage errors."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(sys.stderr if unless else nowhere):
        yield
