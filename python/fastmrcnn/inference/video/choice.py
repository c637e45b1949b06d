"""Which frames of a video are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fastmrcnn.errors import UserError

if TYPE_CHECKING:
    from av import VideoFrame

    from fastmrcnn.inference.video.decoding import Decoded

_ROUNDING = 1e-4  # seconds: times in files are rounded to milliseconds at best


class Chosen(NamedTuple):
    """A frame that is to be looked at."""

    # Among all frames from the choice's start on, from 1.
    number: int
    # Seconds since the video's beginning.
    time: float
    frame: VideoFrame


@dataclass(frozen=True)
class FrameChoice:
    """Every so many frames, or frames a second, of a part of the video.

    >>> FrameChoice(every=5, end=10).expected(rate=25, length=60)
    50
    >>> FrameChoice(every=0)
    Traceback (most recent call last):
        ...
    fastmrcnn.errors.UserError: every must be at least 1; got 0
    """

    # 1 takes all frames, 5 the first, the sixth, ...
    every: int = 1
    # Frames a second at most, by the times of the frames; None: all.
    fps: float | None = None
    # Seconds since the video's beginning.
    start: float = 0.0
    end: float | None = None
    # How many; None: all.
    max_frames: int | None = None

    def __post_init__(self) -> None:
        for name, count in (("every", self.every), ("max_frames", self.max_frames)):
            if count is not None and count < 1:
                raise UserError(f"{name} must be at least 1; got {count}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UserError(f"fps must be more than 0; got {self.fps}")
        if not 0 <= self.start < math.inf:
            raise UserError(f"start must be at least 0 seconds; got {self.start}")
        if self.end is not None and not self.end > self.start:
            raise UserError(f"end must be after start, {self.start:g} s; got {self.end}")

    def among(self, frames: Iterable[Decoded]) -> Iterator[Chosen]:
        """Those of ``frames`` that are to be looked at, however many."""
        number, due = 0, self.start
        for time, frame in frames:
            if time < self.start - _ROUNDING:
                continue
            if self.end is not None and time >= self.end - _ROUNDING:
                return
            number += 1
            if (number - 1) % self.every or time < due - _ROUNDING:
                continue
            if self.fps is not None:
                due = self.start + (math.floor((time - self.start + _ROUNDING) * self.fps) + 1) / self.fps
            yield Chosen(number, time, frame)

    def rate(self, rate: float | None) -> float | None:
        """Frames a second that are chosen of ``rate``."""
        chosen = None if rate is None else rate / self.every
        return chosen if self.fps is None else min(self.fps, chosen or self.fps)

    def expected(self, rate: float | None, length: float | None) -> int | None:
        """About how many frames that will be; None where nothing is known."""
        if length is None or rate is None or (chosen := self.rate(rate)) is None:
            return self.max_frames
        seconds = max(0.0, min(length, self.end or length) - self.start)
        count = math.ceil(seconds * chosen - 1e-6)
        return count if self.max_frames is None else min(count, self.max_frames)
