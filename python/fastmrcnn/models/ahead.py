"""Threads that get images ready while the network is at others."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Barrier, Thread
from typing import TypeVar

import torch

from fastmrcnn.locks import lock_across_forks

Item = TypeVar("Item")
Result = TypeVar("Result")

_BESIDE_CPU = 2  # the network has the cores, and needs far longer than decoding does
_BESIDE_GPU = 8  # one core decodes some 200 photographs of 640 x 480 a second


def number_of_readers(wanted: int | None, device: torch.device) -> int:
    """How many threads get images ready for a network on ``device``; None: as many as it has use for."""
    if wanted is not None:
        return wanted
    if device.type == "cpu":
        return _BESIDE_CPU
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_BESIDE_GPU, own // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class Readers:
    """So many threads; with none, work is done where its result is asked for.

    >>> with Readers(2) as readers:
    ...     [(item, future.result()) for item, future in readers.ahead(str.upper, ["a", "b"], depth=2)]
    [('a', 'A'), ('b', 'B')]
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = lone_threads(threads, "read_image") if threads else None

    def ahead(
        self, work: Callable[[Item], Result], items: Iterable[Item], *, depth: int
    ) -> Iterator[tuple[Item, Future[Result]]]:
        """Each item with what ``work`` makes of it, in their order; ``depth`` are begun before they are asked for.

        Items are taken by the caller's thread.
        """
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        remaining = iter(items)
        while True:
            for item in islice(remaining, depth - len(waiting)):
                waiting.append((item, self._submit(work, item)))
            if not waiting:
                return
            yield waiting.popleft()

    def _submit(self, work: Callable[[Item], Result], item: Item) -> Future[Result]:
        if self._pool is not None:
            return self._pool.submit(work, item)
        future: Future[Result] = Future()
        try:
            future.set_result(work(item))
        except Exception as error:
            future.set_exception(error)
        return future

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


_starting = lock_across_forks()  # while it is held, threads that torch sees first compute alone, and always will


def lone_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Threads whose torch operators do not start further threads, which would contend with the network's."""
    started = Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)  # in this thread, and in all that torch sees first from now on
        started.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=start)
    with _starting:
        computing = torch.get_num_threads()
        for _ in range(count):
            pool.submit(int)  # none of them is idle before all have started
        started.wait()
        # For threads to come; in this one nothing has changed, and it would lose what torch has prepared for its
        # convolutions.
        restoring = Thread(target=torch.set_num_threads, args=(computing,))
        restoring.start()
        restoring.join()
    return pool


def settle_threads() -> None:
    """Let the calling thread have torch's number of threads, if it is new to torch while others start readers."""
    with _starting:
        torch.get_num_threads()
