"""Which share of a model's time its detection operators take."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

Place = tuple[Any, str]  # a module or class, and the name of a function in it


class WithShare:
    """A function that also knows which share of its last call's time passed in the functions at `places`."""

    def __init__(self, places: Sequence[Place], function: Callable[[], Any]) -> None:
        self.places = places
        self.function = function
        self.share = float("nan")

    def __call__(self) -> Any:
        with stopwatches(self.places) as taken:
            start = time.perf_counter()
            result = self.function()
            whole = time.perf_counter() - start
        self.share = sum(taken) / whole
        return result


@contextmanager
def stopwatches(places: Sequence[Place]) -> Iterator[list[float]]:
    """Collects the seconds of each call of the functions; calls that these make of each other count once."""
    taken: list[float] = []
    depth = 0

    def timed(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            nonlocal depth
            depth += 1
            start = time.perf_counter()
            try:
                return original(*arguments, **keywords)
            finally:
                depth -= 1
                if depth == 0:
                    taken.append(time.perf_counter() - start)

        return wrapper

    with ExitStack() as stack:
        for owner, name in places:
            stack.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name))))
        yield taken
