"""The progress bar of every long command, on stderr."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_INTERVAL = 30.0  # seconds between updates where stderr is a file or a pipe: each one is a new line there


def progress_bar(total: int, what: str, unit: str, *, shown: bool = True, initial: int = 0) -> tqdm[Any]:
    """A bar over ``total`` items with rate and time left; ``shown=False`` gives one that prints nothing.

    >>> with progress_bar(2, "predict", "image", shown=False) as bar:
    ...     _ = bar.update()
    """
    return tqdm(
        total=total,
        initial=initial,
        desc=what,
        unit=unit,
        disable=not shown,
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else LOG_INTERVAL,
    )
