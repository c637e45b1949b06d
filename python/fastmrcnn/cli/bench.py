"""``fastmrcnn bench``: where the time of a prediction goes."""

from __future__ import annotations

from fastmrcnn.cli.commands import Bench
from fastmrcnn.cli.log import log_on_stderr
from fastmrcnn.profiling.run import bench


def bench_and_tell(options: Bench) -> None:
    """Profile, print the table, and say where the numbers are."""
    with log_on_stderr():  # what --fast does
        profile = bench(options)
    print(profile)
    if options.output is not None:
        print(f"written to {options.output}")
