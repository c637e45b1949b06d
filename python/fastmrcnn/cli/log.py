"""What the library logs, for those who look at a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """Print what the package logs at level INFO and above, one line each, and leave logging as it was.

    Of several processes the first prints all; the others warnings alone, which say whose they are.
    """
    from fastmrcnn import distributed  # brings torch: the command line answers --help without it

    logger, handler = logging.getLogger("fastmrcnn"), _AboveProgressBars()
    level = logger.level
    logger.addHandler(handler)
    if distributed.is_first():
        logger.setLevel(logging.INFO)
    else:
        logger.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter(f"[rank {distributed.rank()}] %(message)s"))
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _AboveProgressBars(logging.Handler):
    """A line on stderr that leaves a progress bar there in one piece."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)
