"""PREDICTION.md: its code runs, and no kind of output is left out."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import get_args

import pytest

from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.inference.config import OutputKind

PAGE = (Path(__file__).resolve().parents[2] / "PREDICTION.md").read_text(encoding="utf-8")


def test_the_table_lists_every_kind_of_output() -> None:
    table = PAGE.partition("| `--save` |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(get_args(OutputKind))


def test_what_detections_turn_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "OpenCV")  # which supervision can do without, but says so
        pytest.importorskip("supervision", reason="supervision is not installed")
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "scenes", images=1, seed=0, size=(160, 160))
    next((tmp_path / "scenes" / "images").iterdir()).rename("photo.jpg")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "to_supervision" in block]
    exec(compile(code, "PREDICTION.md", "exec"), {})
