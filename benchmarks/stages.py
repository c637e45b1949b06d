"""Which share of a model's time its detection operators take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastmrcnn import profiling

Place = tuple[Any, str]  # a module or class, and the name of a function in it


class WithShare:
    """A function that also knows which share of its last call's time passed in the functions at `places`."""

    def __init__(self, places: Sequence[Place], function: Callable[[], Any]) -> None:
        self.places = [profiling.Place(owner, name, "operators") for owner, name in places]
        self.function = function
        self.share = float("nan")

    def __call__(self) -> Any:
        clock = profiling.StageClock()
        with profiling.watched(self.places, clock), clock.stage("rest"):
            result = self.function()
        took = clock.milliseconds()
        self.share = took.get("operators", 0.0) / sum(took.values())
        return result
