"""Evaluation mode for the time of a call, whatever mode the model is in and however many threads call it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from fastmrcnn.locks import lock_across_forks

_lock = lock_across_forks()
_calls: dict[nn.Module, int] = {}  # of modules that were in training mode: how many calls need them in evaluation mode


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module of ``model`` in evaluation mode, and back into the mode that each had.

    The mode of a module is one for all threads: the first call to enter changes it and the last one to leave puts it
    back. Nothing is written to a model that is in evaluation mode.
    """
    with _lock:
        switched = [module for module in model.modules() if module.training or module in _calls]
        for module in switched:
            module.training = False
            _calls[module] = _calls.get(module, 0) + 1
    try:
        yield
    finally:
        with _lock:
            for module in switched:
                _calls[module] -= 1
                if _calls[module] == 0:
                    del _calls[module]
                    module.training = True


def _end_calls_of_lost_threads() -> None:
    """A forked child lacks the threads whose calls were under way."""
    for module in _calls:
        module.training = True
    _calls.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_calls_of_lost_threads)
