"""Entry point of ``fastmrcnn``: run a command, and turn a user's mistake into one line and exit code 2."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from fastmrcnn.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line ``words`` (``sys.argv`` by default) and return the exit code.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    fastmrcnn ...
    0
    """
    words = sys.argv[1:] if words is None else list(words)
    try:
        if words == ["--version"]:
            from fastmrcnn import __version__

            print(f"fastmrcnn {__version__}")
            return 0
        with _cleaned_up_on_sigterm():
            _run(words or ["--help"])
        return 0
    except UserError as error:
        _complain(f"error: {' '.join(str(error).splitlines())}")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `fastmrcnn eval | head`: the reader has gone, there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a disk that is full or gone; what was being written has been removed
        if error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"error: {where}{error.strerror}")
        return EXIT_USER_ERROR
    except SystemExit as end:  # from the parser: help, or a usage error that it has printed
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _run(words: Sequence[str]) -> None:
    if os.environ.get("WORLD_SIZE", "1") != "1":  # one of several; what that takes is not imported for one alone
        from fastmrcnn.distributed import launched

        if launched():
            from fastmrcnn.cli.several import run_with_others

            run_with_others(words)
            return
    from fastmrcnn.cli.arguments import parse

    parse(words).run()


def _complain(line: str) -> None:
    """Say on stderr why the command ended; of several processes the first to fail says it for all."""
    distributed = sys.modules.get("fastmrcnn.distributed")
    if distributed is None or distributed.is_first_to_fail():
        print(f"fastmrcnn: {line}", file=sys.stderr)


@contextmanager
def _cleaned_up_on_sigterm() -> Iterator[None]:
    """SIGTERM unwinds the command, as Ctrl-C does, so that its temporary files are removed; the exit code is 143."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # Python delivers signals nowhere else
        yield
        return
    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
