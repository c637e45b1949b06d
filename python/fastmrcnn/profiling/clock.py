"""A clock that tells how long each stage of a program took, whichever functions the stages begin and end with."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch


class Place(NamedTuple):
    """A function that belongs to a stage."""

    owner: Any  # an object, a class or a module
    name: str  # of the function in it
    stage: str


class StageClock:
    """Every moment counts for the innermost stage that the program is in, so that the stages add up to the whole.

    Of a GPU the moments are events in its current stream: the host runs ahead and waits for nothing until
    :meth:`milliseconds` is called. For one thread.

    >>> clock = StageClock()
    >>> with clock.stage("whole"):
    ...     with clock.stage("part"):
    ...         time.sleep(0.01)
    >>> took = clock.milliseconds()
    >>> sorted(took), took["part"] >= 10 > took["whole"]
    (['part', 'whole'], True)
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._inside: list[str] = []
        self._changes: list[tuple[str | None, Any]] = []  # the stage that begins, None outside of all, and when

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The block belongs to the stage ``name``, but for stages within it."""
        self._inside.append(name)
        self._change()
        try:
            yield
        finally:
            self._inside.pop()
            self._change()

    def milliseconds(self) -> dict[str, float]:
        """The time of each stage so far, summed over all its turns, in the order of their first ones."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        sums: dict[str, float] = {}
        for (stage, start), (_, end) in pairwise(self._changes):
            if stage is not None:
                took = start.elapsed_time(end) if self._device.type == "cuda" else (end - start) * 1e3
                sums[stage] = sums.get(stage, 0.0) + took
        return sums

    def _change(self) -> None:
        moment: Any
        if self._device.type == "cuda":
            moment = torch.cuda.Event(enable_timing=True)
            moment.record(torch.cuda.current_stream(self._device))
        else:
            moment = time.perf_counter()
        self._changes.append((self._inside[-1] if self._inside else None, moment))


@contextmanager
def watched(places: Sequence[Place], clock: StageClock) -> Iterator[None]:
    """Within the block calls of the functions at ``places`` are stages of ``clock``.

    >>> clock = StageClock()
    >>> with watched([Place(time, "sleep", "asleep")], clock):
    ...     time.sleep(0.01)
    >>> clock.milliseconds()["asleep"] >= 10
    True
    """
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(_replaced(place.owner, place.name, _timed(place, clock)))
        yield


def _timed(place: Place, clock: StageClock) -> Callable[..., Any]:
    original = getattr(place.owner, place.name)

    @functools.wraps(original)
    def timed(*arguments: Any, **keywords: Any) -> Any:
        with clock.stage(place.stage):
            return original(*arguments, **keywords)

    return timed


@contextmanager
def _replaced(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """``owner.name`` is ``function``, and after the block what it was, or again that of the owner's class."""
    is_own, before = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        if is_own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
