"""The server of DEPLOYMENT.md answers several clients at once."""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from fastmrcnn import load_model

PAGE = (Path(__file__).parents[2] / "DEPLOYMENT.md").read_text(encoding="utf-8")
PHOTOGRAPH = Path(str(resources.files("fastmrcnn") / "assets" / "coins.png")).read_bytes()


def test_the_server_on_the_page() -> None:
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "ThreadingHTTPServer" in block]
    program, start, _ = code.rpartition("ThreadingHTTPServer(")
    assert start
    names: dict[str, Any] = {}
    exec(compile(program.replace("runs/mine/best.safetensors", "tiny"), "DEPLOYMENT.md", "exec"), names)
    with ThreadingHTTPServer(("127.0.0.1", 0), names["Handler"]) as server:
        names["Handler"].log_message = lambda *about: None
        threading.Thread(target=server.serve_forever).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            with ThreadPoolExecutor(3) as clients:
                answers = list(clients.map(lambda _: urllib.request.urlopen(address, PHOTOGRAPH).read(), range(3)))
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(address, b"no picture")
        finally:
            server.shutdown()
    assert len(set(answers)) == 1
    found = load_model("tiny").predict(names["Image"].open(names["io"].BytesIO(PHOTOGRAPH)), score_threshold=0.5)
    expected = [result | {"class": name} for result, name in zip(found.to_coco(image_id=1), found.names, strict=True)]
    assert names["json"].loads(answers[0]) == expected
