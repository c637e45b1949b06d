"""Fetching files, from servers on this machine that misbehave as real ones do."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, torchvision_resnet50_fpn
from fastmrcnn.weights import download, load_model, to_torchvision
from fastmrcnn.weights.download import cache_directory, fetch
from fastmrcnn.weights.published import PUBLISHED, PublishedModel

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()
CHECKSUM = f"sha256:{DIGEST[:8]}"


class Server(ThreadingHTTPServer):
    """Serves `content`; what it does wrong is set from outside."""

    content = CONTENT
    etag: str | None = '"first"'
    cut_after: list[int]  # bytes that each of the next connections delivers before it breaks
    ranges: list[str | None]  # that were asked for
    knows_ranges = True
    announces_length = True
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut_after, self.ranges = [], []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up is no news


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", "/" + self.path.removeprefix("/moved/"))
            self.end_headers()
            return
        server.ranges.append(self.headers.get("Range"))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = self.first_byte()
        if start > len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if server.announces_length:
            self.send_header("Content-Length", str(len(server.content) - start))
        if server.etag is not None:
            self.send_header("ETag", server.etag)
        self.end_headers()
        rest = server.content[start:]
        if server.cut_after:
            rest = rest[: server.cut_after.pop(0)]
        self.wfile.write(rest)

    def first_byte(self) -> int:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        current = self.headers.get("If-Range") == self.server.etag
        return int(wanted[1]) if wanted and current and self.server.knows_ranges else 0


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTMRCNN_CACHE", str(tmp_path / "cache"))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "cache"


def files_in(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} - {"model.pth.lock"}


def test_a_file_is_fetched_once(server: Server, cache: Path) -> None:
    path = fetch(f"{server.url}/model.pth", checksum=CHECKSUM)
    assert path == cache / "model.pth"
    assert path.read_bytes() == CONTENT
    assert fetch(f"{server.url}/model.pth", checksum=CHECKSUM) == path
    assert server.ranges == [None]
    assert files_in(cache) == {"model.pth"}


def test_a_published_model_is_loaded_by_its_name(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = MaskRCNN(torchvision_resnet50_fpn(["cat", "dog"], depth=18)).eval()
    file = io.BytesIO()
    torch.save(to_torchvision(model), file)
    server.content = file.getvalue()
    published = PublishedModel(
        f"{server.url}/model.pth",
        f"sha256:{hashlib.sha256(server.content).hexdigest()[:8]}",
        "torchvision_resnet50_fpn",
    )
    monkeypatch.setitem(PUBLISHED, "torchvision/small", published)
    for _ in range(2):
        loaded = load_model("torchvision/small").state_dict()
        assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())
    assert server.ranges == [None]


def test_checksums_of_either_kind(server: Server, cache: Path) -> None:
    digits = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()[:6]
    assert fetch(f"{server.url}/model.pkl", checksum=f"md5:{digits}").read_bytes() == CONTENT
    with pytest.raises(UserError, match=rf"expected its md5 to begin with 000000; got {digits}"):
        fetch(f"{server.url}/other.pkl", checksum="md5:000000")
    assert not (cache / "other.pkl").exists()


def test_redirects_are_followed(server: Server) -> None:
    assert fetch(f"{server.url}/moved/model.pth").read_bytes() == CONTENT


def test_a_name_of_its_own(server: Server, cache: Path) -> None:
    assert fetch(f"{server.url}/model_final.pkl", name="R_50.pkl") == cache / "R_50.pkl"


def test_a_cut_connection_is_resumed(server: Server, cache: Path) -> None:
    server.cut_after = [300_000, 0, 200_000]
    path = fetch(f"{server.url}/model.pth", checksum=f"sha256:{DIGEST}")
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=300000-", "bytes=500000-"]
    assert files_in(cache) == {"model.pth"}


def test_the_next_call_resumes(server: Server, cache: Path) -> None:
    server.cut_after = [300_000, 0, 0, 0, 0]
    with pytest.raises(UserError, match="the connection ended after 300000 of 1048576 bytes"):
        fetch(f"{server.url}/model.pth")
    assert files_in(cache) == {"model.pth.part", "model.pth.etag"}
    server.cut_after = []
    assert fetch(f"{server.url}/model.pth").read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=300000-"


@pytest.mark.parametrize("change", ["new version", "no versions", "weak version", "no ranges"])
def test_parts_of_two_files_are_never_joined(server: Server, change: str) -> None:
    server.cut_after = [300_000, 0, 0, 0, 0]
    if change in ("no versions", "weak version"):
        server.etag = None if change == "no versions" else 'W/"first"'
    with pytest.raises(UserError):
        fetch(f"{server.url}/model.pth")
    server.cut_after = []
    server.knows_ranges = change != "no ranges"
    if change == "new version":
        server.content, server.etag = CONTENT[::-1], '"second"'
    assert fetch(f"{server.url}/model.pth").read_bytes() == server.content


def test_a_part_longer_than_the_file_is_dropped(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "model.pth.part").write_bytes(CONTENT + b"more")
    (cache / "model.pth.etag").write_text('"first"')
    assert fetch(f"{server.url}/model.pth").read_bytes() == CONTENT


def test_a_complete_part_is_kept(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "model.pth.part").write_bytes(CONTENT)
    (cache / "model.pth.etag").write_text('"first"')
    assert fetch(f"{server.url}/model.pth", checksum=CHECKSUM).read_bytes() == CONTENT


def test_a_server_that_announces_no_length(server: Server) -> None:
    server.announces_length = False
    assert fetch(f"{server.url}/model.pth").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server: Server, cache: Path) -> None:
    url = f"{server.url}/model.pth"
    with pytest.raises(UserError) as caught:
        fetch(url, checksum="sha256:bf2d0c1e")
    assert str(caught.value) == (
        f"{url}: cannot be fetched: expected its sha256 to begin with bf2d0c1e; got {DIGEST}; "
        f"a copy of the file can be put at {cache / 'model.pth'}"
    )
    assert files_in(cache) == set()


def test_a_missing_file(server: Server) -> None:
    server.status = 404
    with pytest.raises(UserError, match=r"/model\.pth: cannot be fetched: HTTP status 404 Not Found; a copy"):
        fetch(f"{server.url}/model.pth")
    assert len(server.ranges) == 1


def test_no_network(cache: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/model.pth"
        with pytest.raises(UserError, match=rf"^{url}: cannot be fetched: .*refused.*put at {cache}/model\.pth$"):
            fetch(url)


def test_a_silent_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/model.pth"
        with pytest.raises(UserError, match="cannot be fetched: timed out"):
            fetch(url)


def test_simultaneous_calls_share_one_transfer(server: Server) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(f"{server.url}/model.pth"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4
    assert server.ranges == [None]


def test_a_cache_that_cannot_be_written(server: Server, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(f"{server.url}/model.pth")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FASTMRCNN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "fastmrcnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "fastmrcnn"
