"""Results that are written while the network is at other pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType

from fastmrcnn.inference.outputs import Output
from fastmrcnn.inference.outputs.pixels import Pixels
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.models.ahead import lone_threads
from fastmrcnn.structures import Detections


class WriteBehind:
    """Hands what was found to the outputs: in so many threads to those with files of their own for each picture.

    The others get the pictures in their order, in the caller's thread, as all do where there are no threads. What fails
    in a thread is raised by a later call, by the exit from the context at the latest.
    """

    def __init__(self, outputs: Sequence[Output], threads: int) -> None:
        self._behind = [output for output in outputs if threads and output.file_per_picture]
        self._at_once = [output for output in outputs if output not in self._behind]
        self._pool = lone_threads(threads, "write_results") if self._behind else None
        self._most = 2 * threads  # pictures whose images are kept for that
        self._count = 0  # of them
        self._waiting: deque[Future[None] | Callable[[], None]] = deque()

    def add(self, picture: Picture, image: Pixels, found: Detections) -> None:
        for output in self._at_once:
            output.add(picture, image, found)
        if self._pool is not None:
            self._settle(self._most - 1)
            self._waiting.append(self._pool.submit(self._write, picture, image, found))
            self._count += 1

    def then(self, call: Callable[[], None]) -> None:
        """Have something called, in the thread of a later call, when all that was added before is written."""
        self._waiting.append(call)
        self._settle(self._most)

    def _settle(self, most: int) -> None:
        """Wait until at most so many pictures are left, and make the calls that come before the first of them."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, Future) and not first.done() and self._count <= most:
                return
            self._waiting.popleft()
            if isinstance(first, Future):
                self._count -= 1
                first.result()
            else:
                first()

    def _write(self, picture: Picture, image: Pixels, found: Detections) -> None:
        for output in self._behind:
            output.add(picture, image, found)

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._settle(0)
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
