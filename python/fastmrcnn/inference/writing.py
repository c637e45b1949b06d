"""Results that are written while the network is at other pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType

from torch import Tensor

from fastmrcnn.inference.outputs import Output
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
        self._waiting: deque[Future[None]] = deque()

    def add(self, picture: Picture, image: Tensor, found: Detections) -> None:
        for output in self._at_once:
            output.add(picture, image, found)
        if self._pool is not None:
            if len(self._waiting) == self._most:
                self._waiting.popleft().result()
            self._waiting.append(self._pool.submit(self._write, picture, image, found))

    def _write(self, picture: Picture, image: Tensor, found: Detections) -> None:
        for output in self._behind:
            output.add(picture, image, found)

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        try:
            while self._waiting and error is None:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)
