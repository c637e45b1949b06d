"""Published weights files, fetched once into a cache."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from fastmrcnn.errors import UserError, first_line

__all__ = ["cache_directory", "digest_of", "fetch"]

_BLOCK = 1 << 20  # bytes read at a time
_TIMEOUT = 30  # seconds without a byte
_ATTEMPTS = 4  # connections in a row that bring nothing new


def cache_directory() -> Path:
    """Where fetched files are kept: ``$FASTMRCNN_CACHE``, else ``fastmrcnn`` in the user's cache folder."""
    if own := os.environ.get("FASTMRCNN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastmrcnn"


def fetch(url: str, *, checksum: str = "", name: str | None = None) -> Path:
    """The file at `url`, from the cache or, the first time, from the network.

    A transfer that breaks off goes on where it stopped: at once, a few times, and at the next call. Processes that want
    the same file at the same time wait for the first one. A progress bar appears where standard error is a terminal.

    Args:
        checksum: the algorithm and the first hexadecimal digits of the file's digest, as they are published:
            "sha256:bf2d0c1e", "md5:f10217". The file is not checked when left out.
        name: of the file in the cache; the last part of the URL when left out.

    Raises:
        UserError: the file cannot be fetched, or is not the one that was published. The message names the URL and where
            a copy can be put by hand.
    """
    target = cache_directory() / (name or url.rpartition("/")[2])
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_file():
                _Transfer(url, target).run(checksum)
    except OSError as error:  # of the cache; those of the network are UserErrors by now
        raise UserError(f"{target}: cannot be written: {error.strerror or first_line(error)}") from None
    return target


def digest_of(path: Path, algorithm: str) -> str:
    """The digest of a file in hexadecimal digits; ``algorithm`` is "sha256" or "md5"."""
    digest = hashlib.new(algorithm, usedforsecurity=False)  # against damage: MD5 is also there under FIPS then
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class _BrokenTransferError(Exception):
    """The connection ended early; another may go on from there."""


class _Transfer:
    """One file on its way: `.part` holds what has come, `.etag` which version of the file that belongs to."""

    def __init__(self, url: str, target: Path) -> None:
        self.url, self.target = url, target
        self.part = target.with_name(target.name + ".part")
        self.etag = target.with_name(target.name + ".etag")

    def run(self, checksum: str) -> None:
        self._receive_all()
        if checksum:
            self._check(checksum)
        os.replace(self.part, self.target)
        self._forget()

    def _check(self, checksum: str) -> None:
        algorithm, _, digits = checksum.partition(":")
        found = digest_of(self.part, algorithm)
        if not found.startswith(digits):
            self._forget()
            raise self._failure(f"expected its {algorithm} to begin with {digits}; got {found}")

    def _receive_all(self) -> None:
        attempts = 0
        while True:
            before = self._received()
            try:
                return self._receive()
            except _BrokenTransferError as error:
                attempts = 1 if self._received() > before else attempts + 1
                if attempts >= _ATTEMPTS:
                    raise self._failure(first_line(error)) from None

    def _received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _receive(self) -> None:
        start = self._received()
        headers = {"User-Agent": "fastmrcnn"}
        if start and self.etag.exists():
            # A server that has another version by now ignores the range and sends the whole of it.
            headers |= {"Range": f"bytes={start}-", "If-Range": self.etag.read_text("utf-8")}
        request = urllib.request.Request(self.url, headers=headers)
        with _broken_connections(), self._open(request) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                start = 0
            self._remember_version(response.headers)
            length = response.headers.get("Content-Length")
            self._append(response, start, None if length is None else start + int(length))

    @contextmanager
    def _open(self, request: urllib.request.Request) -> Iterator[Any]:
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # the part is longer than the file
                self._forget()
                raise _BrokenTransferError(f"HTTP status {error.code}") from None
            raise self._failure(f"HTTP status {error.code} {error.reason}") from None
        except (urllib.error.URLError, ValueError) as error:  # no network, no such host; no URL at all
            raise self._failure(first_line(error)) from None
        with response:
            yield response

    def _remember_version(self, headers: http.client.HTTPMessage) -> None:
        version = headers.get("ETag", "")
        if version and not version.startswith("W/"):  # a weak one does not vouch for every byte
            self.etag.write_text(version, "utf-8")
        else:
            self.etag.unlink(missing_ok=True)

    def _append(self, response: http.client.HTTPResponse, start: int, total: int | None) -> None:
        bar = tqdm(
            desc=self.target.name,
            initial=start,
            total=total,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            disable=None,
        )
        with bar, self.part.open("r+b" if start else "wb") as file:
            file.seek(start)
            while block := response.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
            received = file.tell()
        if total is not None and received != total:
            raise _BrokenTransferError(f"the connection ended after {received} of {total} bytes")

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.etag.unlink(missing_ok=True)

    def _failure(self, reason: str) -> UserError:
        return UserError(f"{self.url}: cannot be fetched: {reason}; a copy of the file can be put at {self.target}")


@contextmanager
def _broken_connections() -> Iterator[None]:
    try:
        yield
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _BrokenTransferError(first_line(error)) from None
