"""What is a video, and how it is called."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from fastmrcnn import distributed
from fastmrcnn.errors import UserError
from fastmrcnn.inference.sources import Identity, candidates, natural_key
from fastmrcnn.structures.images import IMAGE_SUFFIXES

_log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"),
    *(".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
"""By which video files are told from images."""


def is_stream(source: str) -> bool:
    """A camera or an address.

    >>> [is_stream(source) for source in ("/dev/video0", "rtsp://camera.local/1", "film.mp4")]
    [True, True, False]
    """
    return is_camera(source) or re.match(r"[a-z][a-z0-9+.-]+://", source, re.IGNORECASE) is not None


def is_camera(source: str) -> bool:
    """A device of Video4Linux."""
    return source.startswith(("/dev/video", "/dev/v4l/"))


def named(source: str | os.PathLike[str] | int) -> str:
    """A source as text; a number that is no file is that of a camera.

    >>> named(0), named("film.mp4")
    ('/dev/video0', 'film.mp4')
    """
    text = str(source) if isinstance(source, int) else os.fspath(source)
    is_number = re.fullmatch("[0-9]{1,3}", text) is not None
    return f"/dev/video{text}" if is_number and not os.path.exists(text) else text


def is_video(source: str) -> bool:
    """A camera, an address, or a video file by its suffix."""
    return is_stream(source) or os.path.splitext(source)[1].lower() in VIDEO_SUFFIXES


def video_files(sources: Iterable[str]) -> list[str]:
    """The videos that files, folders, globs and addresses mean, in their order, none twice; none where ``sources`` are
    images.

    A folder or a glob stands for its videos where there are no images among its files; a number that is no file is
    that of a camera.

    Raises ``UserError`` for images beside videos, a stream beside other videos, a file that does not exist and a glob
    that matches no video.
    """
    sources = [named(source) for source in sources]
    videos = [source for source in sources if is_video(source) or _stands_for_videos(source)]
    if not videos:
        return []
    if len(videos) < len(sources):
        image = next(source for source in sources if source not in videos)
        raise UserError(f"images: expected images or videos, not both; got {shown_name(videos[0])} beside {image}")
    if len(videos) > 1 and any(map(is_stream, videos)):
        stream = next(filter(is_stream, videos))
        raise UserError(f"images: expected a camera or stream to be the only source; got {shown_name(stream)} and more")
    identity, found = Identity(), dict[str, str]()
    for path in (path for source in videos for path in _expand(source)):
        found.setdefault(identity(path), path)
    return list(found.values())


def _expand(source: str) -> list[str]:
    if is_stream(source) or os.path.isfile(source):  # before the glob: a file may have brackets in its name
        return [source]
    found = [path for path in candidates(source) if is_video(path) and os.path.isfile(path)]
    if not found:
        expected = "a glob that matches videos" if glob.has_magic(source) else "a video file"
        raise UserError(f"{source}: expected {expected}; there is no such file")
    return sorted(found, key=natural_key)


def _stands_for_videos(source: str) -> bool:
    """Whether a folder or a glob has videos and no images. Says so where it has both."""
    has_images, videos = False, 0
    for path in candidates(source):
        suffix = os.path.splitext(path)[1].lower()
        has_images, videos = has_images or suffix in IMAGE_SUFFIXES, videos + (suffix in VIDEO_SUFFIXES)
    if has_images and videos and distributed.is_first():
        left_out = "1 video is" if videos == 1 else f"{videos} videos are"
        _log.warning("%s: %s left out: there are images too, and a run has one or the other", source, left_out)
    return videos > 0 and not has_images


def shown_name(source: str) -> str:
    """A source without the password, and without the query, which may hold a key: what messages and results say.

    >>> shown_name("rtsp://admin:secret@camera.local:554/stream1?token=1")
    'rtsp://camera.local:554/stream1'
    """
    if not is_stream(source) or is_camera(source):
        return source
    address = urlsplit(source)
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def result_name(source: str) -> str:
    """A file name for results, without a suffix.

    >>> result_name("rtsp://admin:secret@camera.local:554/stream1"), result_name("a/film.mp4")
    ('camera.local-554-stream1', 'film')
    """
    if not is_stream(source):
        return Path(source).stem
    whole = shown_name(source).partition("://")[2] or PurePosixPath(source).name
    return re.sub(r"[^\w.]+", "-", whole).strip("-.") or "stream"
