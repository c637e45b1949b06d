"""PREDICTION.md: its code runs, and no kind of output is left out."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.inference.config import OutputKind

PAGE = (Path(__file__).resolve().parents[2] / "PREDICTION.md").read_text(encoding="utf-8")


def test_the_table_lists_every_kind_of_output() -> None:
    table = PAGE.partition("| `--save` |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(get_args(OutputKind))


def test_many_images_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = [Image.new("RGB", (64, 48), (40 * number, 90, 90)) for number in range(3)]
    images[0].save("scan.tif", save_all=True, append_images=images[1:])
    images[0].save("photo.jpg")  # after the TIFF: Pillow would use what it is told for JPEG again there
    images[1].save("scan.png")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "image_pages" in block]
    names: dict[str, Any] = {}
    exec(compile(code, "PREDICTION.md", "exec"), names)
    assert [found.source.frame for found in names["found"]] == [0, 1, 2]
    assert names["found"][2].plot().size == (64, 48)


def test_a_video_from_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    from tests.inference.video.films import moving_frames, write_film

    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "film.mp4", moving_frames(11), codec="mpeg4")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "predict_video" in block]
    exec(compile(code, "PREDICTION.md", "exec"), {})
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["1", "0.0"],
        ["6", "0.5"],
        ["11", "1.0"],
    ]


def test_what_detections_turn_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "OpenCV")  # which supervision can do without, but says so
        pytest.importorskip("supervision", reason="supervision is not installed")
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "scenes", images=1, seed=0, size=(160, 160))
    next((tmp_path / "scenes" / "images").iterdir()).rename("photo.jpg")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "to_supervision" in block]
    exec(compile(code, "PREDICTION.md", "exec"), {})
