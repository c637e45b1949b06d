"""The HTML report: valid, self-contained, escaped."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastmrcnn.visualisation import Curve, Panel, Report
from fastmrcnn.visualisation.report import image_data

VOID = {"meta", "img", "br", "link", "input", "hr"}
NASTY = """<script>alert("1")</script> & 'quotes' <b>"""


class Page(HTMLParser):
    """Collects elements and text, and fails on elements that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def full_report() -> Report:
    report = Report("Coins & scenes", "What the `tiny` weights find.", footer="fastmrcnn 0.1.0")
    report.section("Numbers", "Measured.")
    report.facts(
        {"mask AP": 0.71234, "images per second": 12.5, "device": "a processor with a long name", "none": None}
    )
    report.table(["class", "AP", "count"], [["disk", 0.72, 3], ["ring", float("nan"), 12]], caption="By class.")
    report.section("Pictures")
    report.text("One.", "Two.")
    report.images([(picture(), "small"), (Image.fromarray(picture(200, 300)), "large")])
    report.comparisons(["ground truth", "prediction"], [((picture(), picture()), "scene 1")])
    report.section("Curves")
    panel = Panel([Curve("loss", [1, 2, 3], [0.9, 0.5, 0.4])], "Losses")
    report.curves(panel, caption="Falling.")
    report.curves(panel)
    report.code("fastmrcnn train \\\n    --epochs 12")
    return report


def test_page_nests_and_is_complete() -> None:
    html = full_report().to_html()
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert page.all("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in page.all("meta")
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert [len(page.all(tag)) for tag in ("title", "h1", "main", "section", "table")] == [1, 1, 1, 3, 1]
    assert all(image["alt"] for image in page.all("img"))


def test_ids_are_unique_and_links_lead_to_them() -> None:
    page = Page(full_report().to_html())
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    assert links == ["#section-1", "#section-2", "#section-3"]
    assert {link[1:] for link in links if link} <= set(ids)


def test_nothing_is_loaded_from_anywhere() -> None:
    html = full_report().to_html()
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")
    page = Page(html)
    assert not page.all("link")
    sources = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert all(source and source.startswith(("data:image/", "#")) for source in sources)
    assert "@import" not in html
    assert not re.findall(r"url\((?!#)", html)
    assert "default-src 'none'" in html


def test_all_text_is_escaped() -> None:
    report = Report(NASTY, NASTY, footer=NASTY)
    report.section(NASTY, NASTY)
    report.section(NASTY)
    report.text(NASTY)
    report.facts({NASTY: NASTY})
    report.table([NASTY], [[NASTY]], caption=NASTY)
    report.images([(picture(), NASTY)])
    report.comparisons([NASTY], [((picture(),), NASTY)])
    report.curves(Panel([Curve(NASTY, [1, 2], [1, 2])], NASTY), caption=NASTY)
    report.code(NASTY, caption=NASTY)
    page = Page(report.to_html())
    assert len(page.all("script")) == 1
    assert not page.all("b")
    assert page.all("img")[0]["alt"] == NASTY
    assert "".join(page.text).count("alert(") >= 14


def test_backquotes_set_code() -> None:
    report = Report("Coins")
    report.text("Run `fastmrcnn <demo>` now, at ` any time.")
    assert "<p>Run <code>fastmrcnn &lt;demo&gt;</code> now, at ` any time.</p>" in report.to_html()


def test_numbers_in_tables() -> None:
    report = Report("Coins")
    report.table(["class", "AP", "n"], [["disk", np.float32(0.5), np.int64(3)], ["ring", None, 1200]])
    html = report.to_html()
    assert '<th scope="col">class</th><th scope="col" class="number">AP</th>' in html
    assert '<th scope="row">disk</th><td class="number">0.500</td><td class="number">3</td>' in html
    assert '<td class="number">\N{EN DASH}</td><td class="number">1200</td>' in html


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.64213, "0.642"),
        (14.2345, "14.2"),
        (np.float32(14.2345), "14.2"),
        (1250.4, "1,250"),
        (-3.14159, "-3.14"),
        (float("nan"), "\N{EN DASH}"),
        (7, "7"),
        ("x", "x"),
    ],
)
def test_facts_have_three_digits(value: float | str, shown: str) -> None:
    report = Report("Coins")
    report.facts({"fact": value})
    assert f"<dd>{shown}</dd>" in report.to_html()


def test_rows_must_fit_their_columns() -> None:
    report = Report("Coins")
    with pytest.raises(ValueError, match="table: each row must have 2 cells, as columns; got 1"):
        report.table(["a", "b"], [["only one"]])
    with pytest.raises(ValueError, match="comparisons: each row must have 2 pictures; got 1"):
        report.comparisons(["a", "b"], [((picture(),), "scene")])
    assert "only one" not in report.to_html()


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (picture(), "png"),
        (picture(300, 400), "jpeg"),
        (picture()[:, :, 0], "png"),
        (picture()[:, :, :1], "png"),
        (Image.new("P", (9, 9)), "png"),
        (Image.new("RGBA", (400, 300)), "jpeg"),
    ],
)
def test_pictures_are_embedded(image: np.ndarray | Image.Image, kind: str) -> None:
    data = image_data(image)
    head, content = data.split(",", 1)
    assert head == f"data:image/{kind};base64"
    decoded = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    assert decoded.size == (image.size if isinstance(image, Image.Image) else image.shape[1::-1])
    if kind == "png" and isinstance(image, np.ndarray) and image.shape[2:] == (3,):
        assert np.array_equal(np.asarray(decoded), image)


@pytest.mark.parametrize("sections", [0, 1])
def test_short_reports(sections: int) -> None:
    report = Report("Coins")
    for index in range(sections):
        report.section(f"Section {index}")
    report.table(["a"], [])
    report.images([])
    page = Page(report.to_html())
    assert not page.all("nav")
    assert not page.all("footer")


def test_save_writes_the_page(tmp_path: Path) -> None:
    report = full_report()
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == report.to_html()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
