"""Fonts of labels, looked for where DejaVu Sans lacks a letter."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib import font_manager, get_data_path

from fastmrcnn.visualisation import fonts
from fastmrcnn.visualisation.fonts import font_for

CARRIED = Path(get_data_path()) / "fonts" / "ttf"  # by matplotlib, on every machine
STRANGE = "\u24b6 coin"  # a letter that STIX has and DejaVu Sans has not


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    remembered = (fonts._file_for, fonts._system_fonts, fonts._say_that_letters_are_missing)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


def name_of_font(text: str) -> str:
    return str(font_for(text, 12).getname()[0])  # type: ignore[union-attr]


def test_the_usual_font_has_most_scripts() -> None:
    assert {name_of_font(text) for text in ("coin 0.98", "żółw", "монета", "νόμισμα")} == {"DejaVu Sans"}


def test_a_font_of_the_system_has_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "Ancient.ttf"
    damaged.write_bytes(b"no font")
    system = [damaged, *(CARRIED / name for name in ("cmr10.ttf", "STIXGeneralBol.ttf", "STIXGeneral.ttf"))]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(map(str, system)))
    chosen = font_for(STRANGE, 12)
    assert chosen.path == str(CARRIED / "STIXGeneral.ttf")  # type: ignore[union-attr]  # not the bold one
    assert name_of_font("coin") == "DejaVu Sans"


def test_no_font_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(CARRIED / "cmr10.ttf")])
    with caplog.at_level(logging.WARNING):
        assert {name_of_font(text) for text in (STRANGE, "\u24b7 star")} == {"DejaVu Sans"}
    [record] = caplog.records
    assert "labels: no font of this machine has all letters of the class names" in record.message
