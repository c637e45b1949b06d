"""Opening a video and decoding its frames, through PyAV. Whatever fails becomes one line that names the video."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from fastmrcnn.errors import UserError, first_line
from fastmrcnn.inference.video.sources import is_camera, is_stream, shown_name

if TYPE_CHECKING:
    from av import Packet, VideoFrame

_USUAL_RATE = 25.0
_PATIENCE = 10.0  # seconds without anything from a stream after which it counts as gone
_THREADS = 2  # that decode: the network wants the others
_BACK_OFF = (0, 5, 30)  # seconds before the place that is sought
_UNTIMED = ("mpjpeg", "mjpeg", "h264", "hevc")  # formats without times: FFmpeg counts frames at some rate
_CUT_OFF = 1.0  # seconds that a video may end before its time: durations in heads are rounded


class Decoded(NamedTuple):
    """A frame as the decoder gives it."""

    # Seconds since the video's beginning; of a stream, since its first frame.
    time: float
    frame: VideoFrame


class Damage:
    """What of a video does not decode.

    >>> damage = Damage("film.mp4", tolerated=True)
    >>> damage.add("a packet at 3.1 s does not decode"), damage.add("a packet at 3.2 s does not decode")
    (None, None)
    >>> damage.line
    'film.mp4: a packet at 3.1 s does not decode, and 1 more fault'
    """

    def __init__(self, name: str, *, tolerated: bool) -> None:
        self._name, self._tolerated = name, tolerated
        self._first, self._count = "", 0

    def add(self, what: str) -> None:
        """Raises ``UserError`` where damage is not tolerated."""
        if not self._tolerated:
            raise UserError(f"{self._name}: expected an undamaged video; {what}")
        self._first, self._count = self._first or what, self._count + 1

    @property
    def line(self) -> str | None:
        """What there was, in one line; None if there was nothing."""
        if not self._count:
            return None
        more = "" if self._count == 1 else f", and {self._count - 1} more fault{'s' * (self._count > 2)}"
        return f"{self._name}: {self._first}{more}"


class Video:
    """An open video. :meth:`decoded` may be iterated once, in any one thread, and closes it at its end."""

    def __init__(self, source: str, *, options: Sequence[str] = (), live: bool | None = None) -> None:
        """Open a file, a camera or a stream.

        Args:
            options: of FFmpeg, such as "video_size=1280x720" for a camera or "rtsp_transport=tcp".
            live: frames come when they do, whether somebody is ready for them or not; None: those of a camera, and of
                a stream of unknown length.

        Raises ``UserError`` where PyAV is missing, or the source is missing, no video, or damaged in its head.
        """
        self.source, self.name = source, shown_name(source)
        self._av = pyav()
        self._container = self._open(options)
        self._begun = False
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"{self.name}: expected a video; there are no pictures in it")
        self._stream = self._container.streams.best("video")  # not a cover picture
        self.live = is_stream(source) and self._container.duration is None if live is None else live
        # Of frames alone the threads decode, several at once, each is late by as many.
        self._stream.thread_type = "SLICE" if self.live else "AUTO"
        self._stream.codec_context.thread_count = _THREADS
        # All that is asked of it later is read now: the thread that decodes closes it.
        rate = self._stream.average_rate or self._stream.guessed_rate
        # Frames per second, on average; None where the head does not say.
        self.rate = float(rate) if rate else None
        self._own_length = self._length_of_pictures()
        whole = self._container.duration
        # Seconds; None where the head does not say.
        self.length = whole / self._av.time_base if whole and self._own_length is None else self._own_length
        self._untimed = self.live and self._container.format.name in _UNTIMED
        # Why a live video has ended, where that is known.
        self.ended = ""

    def decoded(self, start: float, damage: Damage) -> Generator[Decoded, None, None]:
        """The frames from a keyframe at or before ``start`` seconds on. ``damage`` is told of what does not decode."""
        self._begun = True
        try:
            if start > 0 and not self.live:
                self._seek(start)
            yield from self._frames(damage)
        finally:
            self._container.close()

    def close(self) -> None:
        """Close what nobody has begun to decode; a thread that decodes does it itself."""
        if not self._begun:
            self._container.close()

    def _open(self, options: Sequence[str]) -> Any:
        try:
            return self._av.open(
                self.source,
                format="v4l2" if is_camera(self.source) else None,
                options=_parsed(options),
                timeout=_PATIENCE if is_stream(self.source) else None,
                metadata_errors="replace",
            )
        except FileNotFoundError:
            kind, place = ("camera", "device") if is_camera(self.source) else ("video", "file")
            raise UserError(f"{self.name}: expected a {kind}; there is no such {place}") from None
        except self._av.InvalidDataError:
            raise UserError(f"{self.name}: expected a video; it is in no video format, or damaged") from None
        except self._av.FFmpegError as error:
            raise UserError(f"{self.name}: expected a video; it cannot be opened: {_reason(error)}") from None

    def _seek(self, start: float) -> None:
        """Make the next packet that of a keyframe at or before ``start`` seconds, the beginning at worst."""
        base, began = self._stream.time_base, self._stream.start_time or 0
        with suppress(self._av.FFmpegError):  # what cannot be searched is read on from where it is
            for margin in _BACK_OFF:  # searching a container without an index hits a place near by, or after it
                if start <= margin:
                    break
                offset = began + int((start - margin) / base)
                self._container.seek(offset, stream=self._stream)
                packets = self._container.demux(self._stream)
                key = next((packet for packet in packets if packet.is_keyframe and packet.pts is not None), None)
                if key is not None and (key.pts - began) * base <= start:
                    self._container.seek(offset, stream=self._stream)
                    return
            self._container.seek(began, stream=self._stream)

    def _frames(self, damage: Damage) -> Iterator[Decoded]:
        began = None if self._stream.start_time is None else float(self._stream.start_time * self._stream.time_base)
        step = 1.0 / (self.rate or _USUAL_RATE)
        moment, reached, first_came = -step, 0.0, 0.0
        for packet in self._packets(damage):
            if packet.pts is not None and packet.time_base is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.is_corrupt:
                damage.add(f"a packet after {max(moment, 0):.1f} s is damaged")
            try:
                frames = packet.decode()
            except self._av.FFmpegError as error:
                damage.add(f"what comes after {max(moment, 0):.1f} s does not decode: {_reason(error)}")
                continue
            for frame in frames:
                began = frame.time if began is None else began
                if self._untimed:
                    first_came = first_came or time.monotonic()
                    moment = time.monotonic() - first_came
                elif frame.time is None:  # the rate is all that is known
                    moment += step
                else:
                    moment = frame.time - (began or 0.0)
                if frame.is_corrupt:
                    damage.add(f"the frame at {moment:.1f} s is damaged")
                else:
                    yield Decoded(moment, frame)
        expected = None if self.live else self._own_length
        if expected is not None and reached - (began or 0.0) < expected - _CUT_OFF:
            damage.add(f"it ends after {reached - (began or 0.0):.1f} s of {expected:.1f} s")

    def _packets(self, damage: Damage) -> Iterator[Packet]:
        try:
            yield from self._container.demux(self._stream)
        except self._av.FFmpegError as error:
            if self.live:
                self.ended = _reason(error)
            else:
                damage.add(f"reading it fails: {_reason(error)}")

    def _length_of_pictures(self) -> float | None:
        """Seconds; sound may be longer."""
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        matched = re.match(r"(\d+):(\d+):([\d.]+)", self._stream.metadata.get("DURATION", ""))  # of Matroska
        if matched is None:
            return None
        end = int(matched[1]) * 3600 + int(matched[2]) * 60 + float(matched[3])
        return end - float((self._stream.start_time or 0) * self._stream.time_base)  # its times may begin with any


def pyav() -> Any:
    """The package, where it is installed."""
    try:
        import av
    except ImportError:
        raise UserError("videos: expected the package av (PyAV), which decodes them: pip install av") from None
    return av


def _parsed(options: Sequence[str]) -> dict[str, str]:
    for option in options:
        if "=" not in option.strip("="):
            raise UserError(f"video_options must read NAME=VALUE; got {option}")
    return dict(option.split("=", 1) for option in options)  # type: ignore[misc]  # each has two parts


def _reason(error: Exception) -> str:
    """What FFmpeg says, without the address, which may hold a password."""
    if type(error).__name__ in ("ExitError", "TimeoutError"):
        return f"nothing has come for {_PATIENCE:g} s"
    return str(getattr(error, "strerror", None) or first_line(error))
