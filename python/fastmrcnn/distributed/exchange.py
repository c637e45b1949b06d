"""What processes tell each other. Every one of them has to make the same calls in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fastmrcnn.distributed.failures import OtherProcessFailedError
from fastmrcnn.distributed.processes import is_first, processes

Value = TypeVar("Value")


def sum_of_processes(summands: Tensor) -> Tensor:
    """The sum of ``summands`` over the processes, without gradient; the same bits in all of them."""
    if processes() == 1:
        return summands
    total = summands.detach().clone()
    dist.all_reduce(total)
    return total


def greatest_of_processes(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The greatest of each of ``numbers``; no GPU is waited for."""
    if processes() == 1:
        return numbers
    greatest = torch.tensor(numbers)
    dist.all_reduce(greatest, dist.ReduceOp.MAX)
    return tuple(greatest.tolist())


def any_process(flag: bool) -> bool:
    """Whether ``flag`` is set in any process; no GPU is waited for."""
    return bool(greatest_of_processes((int(flag),))[0])


def wait_for_all() -> None:
    """Return when every process has come here."""
    any_process(False)


def gather(value: Value) -> list[Value]:
    """The ``value`` of each process, by rank, in the first one; an empty list in the others."""
    if processes() == 1:
        return [value]
    values: list[Value | None] | None = [None] * processes() if is_first() else None
    dist.gather_object(value, values)
    return list(values or ())  # type: ignore[arg-type]  # all are filled now


def from_first(make: Callable[[], Value]) -> Value:
    """What ``make`` returns in the first process, the only one that calls it, in every process; where it raises, the
    others get an ``OtherProcessFailedError``."""
    values: list[Value | None] = [None]
    with failing_together():
        if is_first():
            values = [make()]
    if processes() > 1:
        dist.broadcast_object_list(values)
    return values[0]  # type: ignore[return-value]


@contextmanager
def failing_together() -> Iterator[None]:
    """A block that raises in one process ends in all, so that none waits for what does not come: in the others with an
    ``OtherProcessFailedError``."""
    problem: Exception | None = None
    try:
        yield
    except Exception as error:
        problem = error
    if any_process(problem is not None):
        try:
            raise problem or OtherProcessFailedError
        finally:
            del problem  # whose traceback holds this frame, and so all that the block has
