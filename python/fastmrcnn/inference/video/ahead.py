"""A thread that is ahead of whoever needs what it makes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_GLANCE = 0.1  # seconds between looks at whether to stop
_PARTING = 12.0  # seconds for the thread to end: streams are waited for as long


class Ahead(Generic[Item, Made]):
    """What is made of the items of an iterator, by a thread, some before they are asked for.

    >>> with Ahead(iter("abc"), str.upper, depth=2) as letters:
    ...     list(letters)
    ['A', 'B', 'C']
    """

    def __init__(
        self,
        items: Iterator[Item],
        make: Callable[[Item], Made],
        *,
        depth: int,
        newest: bool = False,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """
        Args:
            items: iterated in the thread, and if they are a generator, closed there.
            make: called in the thread; with ``newest`` by whoever asks for an item, as most may be dropped.
            depth: how many wait at most.
            newest: of more than ``depth`` drop the oldest, instead of waiting for room.
            stop: asked while nothing comes, and before each item: True ends the iteration.
        """
        self._items, self._make, self._depth, self._newest, self._stop = items, make, depth, newest, stop
        self._waiting: deque[Any] = deque()  # made, or with ``newest`` items
        self._changed = threading.Condition()
        self._done = self._closed = False
        self._error: BaseException | None = None
        # How many items nobody has seen.
        self.dropped = 0
        # A camera that is stuck must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="decode_video", daemon=True)

    def __iter__(self) -> Iterator[Made]:
        while True:
            with self._changed:
                while not (self._waiting or self._done or self._stopped()):
                    self._changed.wait(None if self._stop is None else _GLANCE)
                if self._stopped():
                    return
                if not self._waiting:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._waiting.popleft()
                self._changed.notify()
            yield self._make(item) if self._newest else item

    def _stopped(self) -> bool:
        return self._stop is not None and self._stop()

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(item if self._newest else self._make(item)):
                    break
        except BaseException as error:  # is raised where the items are asked for
            self._error = error
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
            with self._changed:
                self._done = True
                self._changed.notify()

    def _put(self, item: Item | Made) -> bool:
        """Whether further items are wanted."""
        with self._changed:
            while len(self._waiting) >= self._depth and not self._closed:
                if self._newest:
                    self._waiting.popleft()
                    self.dropped += 1
                else:
                    self._changed.wait()
            self._waiting.append(item)
            self._changed.notify()
            return not self._closed

    def __enter__(self) -> Ahead[Item, Made]:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(_PARTING)
