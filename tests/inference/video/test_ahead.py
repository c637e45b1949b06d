"""The thread that decodes ahead of the network."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fastmrcnn.errors import UserError
from fastmrcnn.inference.video.ahead import Ahead


def test_a_file_is_decoded_a_few_frames_ahead() -> None:
    made: list[int] = []
    with Ahead(iter(range(100)), made.append, depth=3) as numbers:
        for seen, _ in enumerate(numbers, 1):
            assert len(made) <= seen + 4  # three wait, one is in the thread's hands
    assert made == list(range(100))


def test_a_live_video_drops_what_is_old() -> None:
    come = threading.Event()

    def camera() -> Iterator[int]:
        yield from range(50)
        come.set()

    with Ahead(camera(), str, depth=1, newest=True) as frames:
        assert come.wait(10)
        assert list(frames) == ["49"]
    assert frames.dropped == 49


def test_a_fault_in_the_thread_is_raised_where_frames_are_asked_for() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise UserError("film.mp4: damaged")

    with Ahead(broken(), abs, depth=2) as frames:
        numbers = iter(frames)
        assert next(numbers) == 1
        with pytest.raises(UserError, match="damaged"):
            next(numbers)
