"""The progress bar of every long command, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LOG_INTERVAL = 30.0  # seconds between updates where stderr is a file or a pipe: each one is a new line there

_COUNT_PER_SECOND = "{desc}: {n_fmt} [{elapsed}, {rate_noinv_fmt}{postfix}]"
_PER_SECOND = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"


@contextmanager
def progress_bar(
    total: int | None, what: str, unit: str, *, shown: bool = True, initial: int = 0
) -> Iterator[tqdm[Any]]:
    """A bar over ``total`` items with rate and time left; ``shown=False`` gives one that prints nothing.

    total: None where nobody knows.
    unit: " images" has a rate in images/s even below one, where others are in seconds each.

    When the block raises, the bar disappears, so that the error message stands alone.

    >>> with progress_bar(2, "predict", "image", shown=False) as bar:
    ...     _ = bar.update()
    """
    terminal = sys.stderr.isatty()
    bar = tqdm(
        total=total,
        initial=initial,
        desc=what,
        unit=unit,
        bar_format=(_COUNT_PER_SECOND if total is None else _PER_SECOND) if unit == " images" else None,
        disable=not shown,
        dynamic_ncols=True,
        mininterval=0.1 if terminal else LOG_INTERVAL,
        delay=0 if terminal else 1,
    )
    try:
        yield bar
    except BaseException:
        bar.leave = False
        raise
    finally:
        bar.close()


def note(bar: tqdm[Any], text: str) -> None:
    """Show a text behind the bar, no more often than the bar itself moves."""
    if bar.disable:
        return
    bar.set_postfix_str(text, refresh=False)
    if time.monotonic() - getattr(bar, "noted", -LOG_INTERVAL) >= bar.mininterval:
        bar.refresh()
        bar.noted = time.monotonic()
