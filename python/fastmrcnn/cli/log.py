"""What the library logs, for those who look at a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """Print what the package logs at level INFO and above, one line each, and leave logging as it was."""
    logger, handler = logging.getLogger("fastmrcnn"), logging.StreamHandler(sys.stderr)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
