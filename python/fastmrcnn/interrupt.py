"""Ctrl-C and SIGTERM between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

SAME_PRESS = 1.0  # seconds within which a launcher may pass on a Ctrl-C that the process has had from the terminal


class InterruptFlag:
    """While entered, a Ctrl-C or a SIGTERM only sets ``requested``; a second Ctrl-C interrupts at once.

    A step that is cut in half leaves some parameters updated and others not; the training loop looks at the flag
    between steps and writes its checkpoint from a consistent state. Schedulers send SIGTERM more than once, to the
    group and to the process: no number of them cuts a step. Outside the main thread, where Python delivers no signals,
    nothing is caught.
    """

    def __init__(self) -> None:
        self.requested = False
        self._first = 0.0  # time of the first signal
        self._may_cut = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that changes nothing of the training: the first signal interrupts it, with ``KeyboardInterrupt``."""
        self._may_cut = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._may_cut = False

    def __enter__(self) -> InterruptFlag:
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        first = not self.requested
        if first:
            self.requested, self._first = True, time.monotonic()
        impatient = number == signal.SIGINT and not first and time.monotonic() - self._first > SAME_PRESS
        if impatient or (first and self._may_cut):
            raise KeyboardInterrupt
