"""Writing files and folders so that a reader never meets a half-written one."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fastmrcnn.errors import UserError

PathLike = str | os.PathLike[str]

_PARTIAL = ".partial-"  # in the names of temporary files and folders; eight characters of tempfile's follow


@contextmanager
def atomic_path(path: PathLike, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move what was written there to ``path`` when the block ends well.

    The temporary name keeps the suffix of ``path``, because writers choose the format by it. When the block raises,
    nothing is left behind and an older file at ``path`` stays as it was. Missing parent folders are created.

    durable: wait until the file is on the disk before it takes its name, and then for the name. Without, a machine that
    goes down within seconds may leave an empty file in place of either one.

    Raises ``UserError`` where the folder cannot be created or written.

    >>> with atomic_path("predictions/report.html") as temporary:
    ...     _ = temporary.write_text("<html></html>")
    >>> [path.name for path in Path("predictions").iterdir()]
    ['report.html']
    """
    target = Path(path)
    temporary = reserve_beside(target, directory=False)
    try:
        yield temporary
        if target.is_dir():
            raise UserError(f"{target}: cannot write a file here: this is a folder")
        apply_default_mode(temporary, 0o666)
        if durable:
            _sync(temporary, shown=target)
        os.replace(temporary, target)
        if durable:
            _sync(target.parent, shown=target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: PathLike, *, durable: bool = False) -> Iterator[Path]:
    """Like :func:`atomic_path` for a folder of files; an older folder at ``path`` is replaced.

    The swap is two renames: a crash exactly between them leaves the old folder under its temporary name, never a
    mixture of old and new files.
    """
    target = Path(path)
    temporary = reserve_beside(target, directory=True)
    try:
        yield temporary
        apply_default_mode(temporary, 0o777)
        if durable:
            for written in (*temporary.iterdir(), temporary):
                _sync(written, shown=target)
        if target.is_dir():
            retired = reserve_beside(target, directory=True)
            os.replace(target, retired)  # an empty folder may be replaced by a folder
            os.replace(temporary, target)
            shutil.rmtree(retired)
        else:
            os.replace(temporary, target)
        if durable:
            _sync(target.parent, shown=target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)


def remove_directory(path: Path) -> None:
    """Remove a folder with all that it holds; nobody meets a part of it under its own name."""
    retired = reserve_beside(path, directory=True)
    os.replace(path, retired)
    shutil.rmtree(retired)


def remove_partial(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left in ``folder``, where nobody writes now."""
    for path in folder.glob(f".*{_PARTIAL}*"):
        if re.fullmatch(rf"\..+{re.escape(_PARTIAL)}\w{{8}}(\.\w+)?", path.name) is None:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def owned_directory(folder: Path) -> Iterator[None]:
    """Let this process alone work in ``folder``, which is created where it is missing, until the block ends.

    The lock goes with the process, whatever it dies of; its workers, which may outlive it by seconds, do not hold it.
    On a file system without locks there is none.

    Raises ``UserError`` where another process is at work there, or the folder cannot be written.
    """
    path = folder / ".lock"
    with ExitStack() as opened:
        with errors_name(folder):
            folder.mkdir(parents=True, exist_ok=True)
            stream = opened.enter_context(path.open("a"))
        if not _lock(stream.fileno()):
            raise UserError(f"{folder}: expected no other process at work in this folder; there is one")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def check_writable(path: PathLike) -> None:
    """``UserError`` where a file could not be written to ``path``, said before the work whose result it shall hold.

    Nothing is left behind, no folder either.
    """
    target = Path(path)
    if target.is_dir():
        raise UserError(f"{target}: cannot write a file here: this is a folder")
    with errors_name(target):
        folder = next(parent for parent in target.parents if parent.exists())
        if not folder.is_dir():
            raise UserError(f"{folder}: expected a folder for {target.name}; this is a file")
        tempfile.TemporaryFile(dir=folder).close()


def write_text(path: PathLike, text: str, *, durable: bool = False) -> None:
    """Write ``text`` as UTF-8 to ``path``, atomically; ``UserError`` names the file where the disk is full."""
    with atomic_path(path, durable=durable) as temporary, errors_name(path):
        temporary.write_text(text, encoding="utf-8")


def write_json(path: PathLike, value: Any, *, indent: int | None = None, durable: bool = False) -> None:
    """Write ``value`` as strict JSON (NaN and infinities become ``null``) to ``path``, as :func:`write_text` does."""
    text = json.dumps(finite(value), indent=indent, allow_nan=False)
    write_text(path, text + "\n", durable=durable)


class GrowingFile:
    """A UTF-8 file that grows by whole pieces of text: a reader, or a full disk, never leaves half of one.

    >>> with GrowingFile("metrics.jsonl") as file:
    ...     file.append('{"step": 1}\\n')
    >>> read_text("metrics.jsonl")
    '{"step": 1}\\n'
    """

    def __init__(self, path: PathLike) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def append(self, text: str) -> None:
        """Write ``text`` at the end; where that fails (``OSError``), nothing of it stays in the file."""
        end, left = os.lseek(self._handle, 0, os.SEEK_END), text.encode()
        try:
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError:
            os.ftruncate(self._handle, end)
            raise

    def lock(self) -> bool:
        """Whether no other process has locked the file; then this one has, until it closes the file or ends.

        On a file system without locks there is none, and nobody else has one.
        """
        return _lock(self._handle)

    def sync(self) -> None:
        """Wait until all of it is on the disk."""
        os.fsync(self._handle)

    def close(self) -> None:
        os.close(self._handle)

    def __enter__(self) -> GrowingFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def errors_name(path: PathLike) -> Iterator[None]:
    """Turn what the system says of a file that is being written into one line that names ``path``."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def read_text(path: PathLike, *, expected: str = "a text file") -> str:
    """Read UTF-8 from ``path``; ``UserError`` naming the file when it is missing, unreadable or something else."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")  # with or without the byte order mark of some editors
    except FileNotFoundError:
        raise UserError(f"{path}: expected {expected}; there is no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: expected {expected}; this is a folder") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected {expected}; the file is not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def read_json(path: PathLike, *, expected: str = "a JSON file") -> Any:
    """Read JSON from ``path``; ``UserError`` naming the file (and line) when it is missing, unreadable or broken."""
    text = read_text(path, expected=expected)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: expected {expected}; broken JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (RecursionError, ValueError):  # nested without end; an integer of thousands of digits
        raise UserError(f"{path}: expected {expected}; its nesting is too deep or a number too long") from None


def finite(value: Any) -> Any:
    """A copy of nested dicts, lists and numbers in which NaN and infinities are ``None``, as strict JSON needs."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def reserve_beside(target: Path, *, directory: bool) -> Path:
    """An empty temporary file or folder in the folder of ``target``: from there, a rename is atomic.

    Missing parent folders are created; ``UserError`` where that or the writing fails.
    """
    prefix = f".{target.stem}{_PARTIAL}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if directory:
            return Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
        os.close(handle)
        return Path(name)
    except FileExistsError as error:
        raise UserError(f"{error.filename}: expected a folder for {target.name}; this is a file") from None
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from None


def apply_default_mode(path: Path, mode: int) -> None:
    """``tempfile`` makes private files; give what is published the mode that ``open`` would have given it."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)


def _lock(handle: int) -> bool:
    """Whether this process alone has an opened file, where the file system can tell."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _sync(path: Path, *, shown: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk; ``UserError`` names ``shown``."""
    with errors_name(shown):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # of file systems that have no such thing for folders
                raise
        finally:
            os.close(descriptor)
