"""Fonts of labels: one that has every letter of a text, where this machine has such a one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from PIL import ImageFont

Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"

_log = logging.getLogger(__name__)
_UNUSUAL = re.compile("lastresort|bold|italic|oblique|light|thin|black|condensed|serif|mono", re.IGNORECASE)


def font_for(text: str, size: int) -> Font:
    """The font to write ``text`` in, ``size`` pixels high.

    It is DejaVu Sans, which matplotlib carries, for its wide range of scripts. Of texts with other letters (Chinese,
    Japanese, Korean, ...) it is a font of the system that has them; where there is none, that is logged once, and boxes
    stand for them.

    >>> font_for("coin 0.98", 12).getname()[0]
    'DejaVu Sans'
    """
    return _opened(_file_for(frozenset(letter for letter in text if not letter.isascii())), size)


@lru_cache(maxsize=64)
def _opened(path: str | None, size: int) -> Font:
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)


@lru_cache(maxsize=4096)
def _file_for(letters: frozenset[str]) -> str | None:
    """A file with ``letters``, which is looked for once; None stands for the font in Pillow."""
    usual = _dejavu()
    if usual is None or not letters or has_letters(usual, letters):
        return usual
    found = next((path for path in _system_fonts() if has_letters(path, letters)), None)
    if found is None:
        _say_that_letters_are_missing()
    return found or usual


@lru_cache(maxsize=1)
def _dejavu() -> str | None:
    matplotlib = find_spec("matplotlib")
    for folder in (matplotlib.submodule_search_locations or []) if matplotlib else []:
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if path.is_file():
            return str(path)
    return None


@lru_cache(maxsize=1)
def _system_fonts() -> list[str]:
    """The system's font files, plain ones before bold and slanted ones and that of boxes for any letter."""
    from matplotlib.font_manager import findSystemFonts

    return sorted(findSystemFonts(), key=lambda path: (_UNUSUAL.search(Path(path).name) is not None, path))


def has_letters(path: str, letters: Iterable[str]) -> bool:
    """Whether the outlines of all ``letters`` are in a font file."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return bool(font.scalable) and all(font.get_char_index(ord(letter)) for letter in letters)
    except (RuntimeError, OSError):  # a damaged one, or one of bitmaps
        return False


@lru_cache(maxsize=1)
def _say_that_letters_are_missing() -> None:
    _log.warning(
        "labels: no font of this machine has all letters of the class names; boxes stand for those that are missing, "
        "until a font such as Noto Sans CJK is installed"
    )
