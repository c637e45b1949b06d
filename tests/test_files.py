"""Atomic writing: the reader sees the old file or the new one, never a part."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fastmrcnn.errors import UserError
from fastmrcnn.files import (
    atomic_directory,
    atomic_path,
    check_writable,
    owned_directory,
    read_json,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_atomic_path_publishes_with_suffix_and_ordinary_mode(tmp_path: Path) -> None:
    target = tmp_path / "new" / "image.png"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == target.parent
        temporary.write_bytes(b"pixels")
        assert not target.exists()
    plain = tmp_path / "new" / "plain"
    plain.touch()
    assert target.read_bytes() == b"pixels"
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    assert names(target.parent) == ["image.png", "plain"]


def test_atomic_path_keeps_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert names(tmp_path) == ["results.json"]


def test_a_folder_in_the_way_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "out.json").mkdir()
    with pytest.raises(UserError, match=r"out\.json: cannot write a file here: this is a folder"):
        write_text(tmp_path / "out.json", "text")
    assert names(tmp_path) == ["out.json"]


def test_a_file_where_a_folder_must_be_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match=r"out: expected a folder for a\.json; this is a file"):
        write_text(tmp_path / "out" / "a.json", "text")


def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "folder" / "file")
    for path, message in [
        (tmp_path, f"{tmp_path}: cannot write a file here: this is a folder"),
        (
            tmp_path / "file" / "new" / "page.html",
            f"{tmp_path / 'file'}: expected a folder for page.html; this is a file",
        ),
        (Path("/proc/page.html"), "/proc/page.html: cannot be written: "),
    ]:
        with pytest.raises(UserError, match=re.escape(message)):
            check_writable(path)
    assert names(tmp_path) == ["file"]


def test_atomic_directory_replaces_the_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    with atomic_directory(target) as temporary:
        (temporary / "old").touch()
    with atomic_directory(target) as temporary:
        (temporary / "new").touch()
    assert names(target) == ["new"]
    assert names(tmp_path) == ["checkpoint"]


def test_atomic_directory_keeps_the_old_folder_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    with atomic_directory(target) as temporary:
        (temporary / "old").touch()
    with pytest.raises(RuntimeError), atomic_directory(target) as temporary:
        (temporary / "new").touch()
        raise RuntimeError
    assert names(target) == ["old"]
    assert names(tmp_path) == ["checkpoint"]


# Enters the folder, and stays there with a worker that outlives it.
OWNER = """
import os, sys, time
from pathlib import Path
from fastmrcnn.files import owned_directory
with owned_directory(Path(sys.argv[1])):
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_owned_by_one_process_until_it_dies(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    worker = int(owner.stdout.readline())
    try:
        message = f"{folder}: expected no other process at work in this folder; there is one"
        with pytest.raises(UserError, match=message), owned_directory(folder):
            raise AssertionError("both are in")
        owner.kill()
        owner.wait()
        with owned_directory(folder):
            assert Path(f"/proc/{worker}").exists()
        assert names(folder) == []
    finally:
        os.kill(worker, signal.SIGKILL)
        owner.kill()
        owner.communicate()


def test_json_round_trip_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"ap": 0.5, "missing": float("nan"), "list": (1, float("inf"))})
    assert json.loads(path.read_text()) == {"ap": 0.5, "missing": None, "list": [1, None]}
    assert read_json(path) == {"ap": 0.5, "missing": None, "list": [1, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected annotations; there is no such file"),
        (b'{"images": [1,\n}', "expected annotations; broken JSON at line 2, column 1"),
        (b"\xff\xfe\x00", "expected annotations; the file is not UTF-8 text"),
        (b"[" * 100_000, "expected annotations; its nesting is too deep or a number too long"),
        (b"1" * 5_000, "expected annotations; its nesting is too deep or a number too long"),
    ],
)
def test_read_json_names_the_file_and_the_cause(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_json(path, expected="annotations")
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_read_json_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path) == [1]


def test_read_json_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this is a folder"):
        read_json(tmp_path)
