"""Torch's operators in a forked child: a process that has computed forks, as servers with preloaded models do.

GNU's OpenMP keeps the threads of a thread's first parallel region for its next ones. A child has no threads but the one
that forked, and its next region would wait for the others for ever. So the threads are given back before a fork, and
parent and child start new ones when they compute. Other OpenMP runtimes look after this themselves.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading

import torch

__all__: list[str] = []

_HARD = 2  # omp_pause_hard: release all that can be had again


class _OpenMP:
    """The runtime that torch computes with, where it is GNU's."""

    def __init__(self) -> None:
        # With its dependencies, of which the runtime is one.
        library = ctypes.CDLL("libtorch_cpu.so", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        self.is_gnu = hasattr(library, "GOMP_parallel") and not hasattr(library, "__kmpc_fork_call")
        self._pause = getattr(library, "omp_pause_resource_all", None)  # GNU's has it since GCC 9: torch's since 2.5
        self._released = False

    def release_threads(self) -> None:
        """Before a fork; not possible within a parallel region."""
        self._released = self._pause is not None and self._pause(_HARD) == 0

    def go_on_in_child(self) -> None:
        """Where threads could not be released, this one computes alone. Those that it starts have threads to themselves
        as ever, so they keep torch's number."""
        if self._released:
            return
        computing = torch.get_num_threads()
        torch.set_num_threads(1)  # in this thread, and in all that torch sees first from now on
        later = threading.Thread(target=torch.set_num_threads, args=(computing,))
        later.start()
        later.join()


def _look_after_forks() -> None:
    try:
        runtime = _OpenMP()
    except OSError:  # a torch that is built in another way
        return
    if runtime.is_gnu:
        os.register_at_fork(before=runtime.release_threads, after_in_child=runtime.go_on_in_child)


if sys.platform == "linux":
    _look_after_forks()
