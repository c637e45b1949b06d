"""Reports in one HTML file: text, key numbers, tables, pictures and curves, with everything that they show inside.

The page loads nothing from anywhere, and says so to the browser by its content security policy. It suits a desktop
and a phone, light and dark. All text is escaped; in running text `backquotes` set code.
"""

from __future__ import annotations

import base64
import io
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from html import escape
from importlib.resources import files
from numbers import Integral, Real
from typing import TypeAlias

import numpy as np
from PIL import Image

from fastmrcnn.files import write_text
from fastmrcnn.visualisation.curves import Panel, draw_panels, inline_svg

Picture: TypeAlias = "Image.Image | np.ndarray"  # a Pillow image, or uint8 [H, W, 3], [H, W, 1] or [H, W]
Cell: TypeAlias = "str | int | float | None"  # numpy's numbers too

_PNG_PIXELS = 128 * 128  # below, a lossless picture costs little; above, JPEG
_LONG_FACT = 12  # characters; a longer fact is set smaller

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{subtitle}</header>
{navigation}<main>
{body}
</main>
{footer}<dialog aria-label="Picture"></dialog>
<script>
{script}</script>
</body>
</html>
"""


class Report:
    """A page that is written from top to bottom.

    >>> report = Report("Coins", "What the shipped weights find.")
    >>> report.section("Numbers", "Measured on the held-out scenes with `fastmrcnn eval`.")
    >>> report.facts({"mask AP": 0.71, "images per second": 12.5})
    >>> report.table(["class", "AP"], [["disk", 0.72], ["ring", 0.64]])
    >>> report.section("Pictures")
    >>> report.images([(np.zeros((48, 64, 3), np.uint8), "an empty table")])
    >>> report.save("report.html")
    """

    def __init__(self, title: str, subtitle: str = "", *, footer: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self.footer = footer
        self._sections: list[str] = []  # titles
        self._parts: list[str] = []  # HTML
        self._drawings = 0

    def section(self, title: str, text: str = "") -> None:
        """Begin a section; ``text`` is its first paragraph."""
        if self._sections:
            self._parts.append("</section>")
        self._sections.append(title)
        self._parts.append(f'<section id="section-{len(self._sections)}">\n<h2>{_inline(title)}</h2>')
        if text:
            self.text(text)

    def text(self, *paragraphs: str) -> None:
        """Paragraphs of running text."""
        self._parts += [f"<p>{_inline(paragraph)}</p>" for paragraph in paragraphs]

    def facts(self, facts: Mapping[str, Cell]) -> None:
        """Key numbers, large, each over its name."""
        tiles = []
        for name, value in facts.items():
            shown = _cell(value) if value is None or isinstance(value, str | Integral) else _three_digits(value)
            size = ' class="long"' if len(shown) > _LONG_FACT else ""
            tiles.append(f'<div class="card"><dt>{_inline(name)}</dt><dd{size}>{_inline(shown)}</dd></div>')
        self._parts.append(_lines('<dl class="facts">', *tiles, "</dl>"))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, caption: str = "") -> None:
        """A table; numbers are set to the right, floats with three digits, None and NaN as a dash.

        Raises ``ValueError`` when a row has not one cell per column.
        """
        cells = [list(row) for row in rows]
        for row in cells:
            if len(row) != len(columns):
                raise ValueError(f"table: each row must have {len(columns)} cells, as columns; got {len(row)}")
        right = [bool(cells) and all(not isinstance(row[i], str) for row in cells) for i in range(len(columns))]
        head = "".join(_tag("th", _inline(name), right[i], ' scope="col"') for i, name in enumerate(columns))
        body = []
        for row in cells:
            first = _tag("th", _inline(_cell(row[0])), right[0], ' scope="row"') if row else ""
            rest = (_tag("td", _inline(_cell(value)), right[i]) for i, value in enumerate(row) if i)
            body.append(f"<tr>{first}{''.join(rest)}</tr>")
        table = _lines("<table>", f"<thead><tr>{head}</tr></thead>", "<tbody>", *body, "</tbody>", "</table>")
        self._figure("card", f'<div class="scroll">\n{table}\n</div>', caption)

    def images(self, items: Iterable[tuple[Picture, str]], *, least_width: int = 260) -> None:
        """A grid of pictures with captions, each at least ``least_width`` CSS pixels wide; one column on a phone."""
        cards = [
            f'<figure class="card">{_img(picture, caption)}{_caption(caption)}</figure>' for picture, caption in items
        ]
        self._grid(cards, least_width)

    def comparisons(
        self, titles: Sequence[str], rows: Iterable[tuple[Sequence[Picture], str]], *, least_width: int = 460
    ) -> None:
        """Pictures of one thing side by side, such as ground truth and prediction: a card with a caption for each row.

        Raises ``ValueError`` when a row has not one picture per title.

        >>> pair = (np.zeros((48, 64, 3), np.uint8), np.ones((48, 64, 3), np.uint8))
        >>> Report("Scenes").comparisons(["ground truth", "prediction"], [(pair, "scene 1")])
        """
        cards = []
        for pictures, caption in rows:
            if len(pictures) != len(titles):
                raise ValueError(f"comparisons: each row must have {len(titles)} pictures; got {len(pictures)}")
            described = [f"{caption}: {title}" if caption else title for title in titles]
            sides = [
                f"<figure>{_caption(title)}{_img(picture, text)}</figure>"
                for picture, title, text in zip(pictures, titles, described, strict=True)
            ]
            row = _lines('<div class="row">', *sides, "</div>")
            cards.append(_lines('<figure class="card">', row, _caption(caption) + "</figure>"))
        self._grid(cards, least_width)

    def curves(self, *panels: Panel, caption: str = "") -> None:
        """Curves, drawn as vector graphics in the colours of the page."""
        self._drawings += 1
        self._figure("card drawing", inline_svg(draw_panels(panels), f"drawing{self._drawings}-"), caption)

    def code(self, text: str, *, caption: str = "") -> None:
        """Preformatted text: commands, logs, a printed table."""
        self._figure("card", f"<pre><code>{escape(text.strip(chr(10)))}</code></pre>", caption)

    def to_html(self) -> str:
        """The whole page."""
        links = [
            f'<li><a href="#section-{index}">{_inline(title)}</a></li>'
            for index, title in enumerate(self._sections, start=1)
        ]
        navigation = _lines('<nav aria-label="Sections"><ul>', *links, "</ul></nav>\n") if len(links) > 1 else ""
        return _PAGE.format(
            title=escape(self.title),
            subtitle=f"<p>{_inline(self.subtitle)}</p>\n" if self.subtitle else "",
            navigation=navigation,
            body="\n".join([*self._parts, "</section>"] if self._sections else self._parts),
            footer=f"<footer>{_inline(self.footer)}</footer>\n" if self.footer else "",
            style=_resource("report.css"),
            script=_resource("report.js"),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to ``path``, whole or not at all."""
        write_text(path, self.to_html())

    def _grid(self, cards: Sequence[str], least_width: int) -> None:
        self._parts.append(_lines(f'<div class="grid" style="--least: {least_width}px">', *cards, "</div>"))

    def _figure(self, classes: str, content: str, caption: str) -> None:
        self._parts.append(_lines(f'<figure class="{classes}">', content, _caption(caption) + "</figure>"))


def image_data(picture: Picture) -> str:
    """A picture as a ``data:`` address: PNG when small, else JPEG (without chroma subsampling: it blurs fine lines)."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture[:, :, 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture)
    picture = picture.convert("RGB")
    stream = io.BytesIO()
    if picture.width * picture.height <= _PNG_PIXELS:
        kind = "png"
        picture.save(stream, format="PNG", optimize=True)
    else:
        kind = "jpeg"
        picture.save(stream, format="JPEG", quality=88, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _img(picture: Picture, description: str) -> str:
    width, height = picture.size if isinstance(picture, Image.Image) else picture.shape[1::-1]
    source = image_data(picture)
    return f'<img src="{source}" width="{width}" height="{height}" alt="{escape(description)}">'


def _caption(text: str) -> str:
    return f"<figcaption>{_inline(text)}</figcaption>" if text else ""


def _tag(name: str, content: str, right: bool, attributes: str = "") -> str:
    number = ' class="number"' if right else ""
    return f"<{name}{attributes}{number}>{content}</{name}>"


def _cell(value: Cell) -> str:
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return "\N{EN DASH}"
    return str(value) if isinstance(value, str | Integral) else f"{value:.3f}"


def _three_digits(value: float) -> str:
    """A number to three significant digits, but never fewer than its whole part: 0.642, 14.2, 1,250."""
    if not math.isfinite(value):
        return _cell(value)
    whole_digits = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:,.{max(3 - whole_digits, 0)}f}"


def _inline(text: str) -> str:
    """Escaped text, with `backquoted` parts as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _lines(*parts: str) -> str:
    return "\n".join(parts)


@lru_cache
def _resource(name: str) -> str:
    return files("fastmrcnn.visualisation").joinpath(name).read_text(encoding="utf-8")
