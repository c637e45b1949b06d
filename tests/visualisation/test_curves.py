"""Curves of a training run."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastmrcnn.visualisation import Curve, Panel, ap_panel, draw_panels, loss_panel, run_panels, save_curves
from fastmrcnn.visualisation.curves import inline_svg


def rows(steps: int = 90) -> list[dict[str, object]]:
    """A metrics log: a row per step, an evaluation every 30."""
    log: list[dict[str, object]] = []
    for step in range(1, steps + 1):
        log.append({"step": step, "epoch": 0, "loss": 2 / step, "loss_mask": 1 / step, "learning_rate": 0.1})
        if step % 30 == 0:
            log.append({"step": step, "box_ap": step / 100, "mask_ap": step / 120, "mask_ap50": step / 95})
    return log


def test_panels_take_their_rows_from_a_metrics_log() -> None:
    losses, precision = loss_panel(rows()), ap_panel(rows())
    assert [curve.name for curve in losses.curves] == ["total", "mask"]
    assert len(losses.curves[0].x) == 90
    assert [curve.name for curve in precision.curves] == ["box AP", "mask AP", "mask AP50"]
    assert list(precision.curves[0].x) == [30, 60, 90]
    assert loss_panel([]).curves == []


def test_a_run_is_drawn_with_all_that_it_measured_over_the_same_steps() -> None:
    validation = [{"step": step, "val_loss": 1 / step, "val_loss_mask": 0.5 / step} for step in (30, 60)]
    panels = run_panels([*rows(), *validation])
    assert [panel.title for panel in panels] == ["Losses", "Validation losses", "Average precision", "Learning rate"]
    assert [curve.name for curve in panels[1].curves] == ["total", "mask"]
    assert list(panels[1].curves[0].x) == [30, 60]
    assert panels[3].curves[0].y[0] == 0.1
    assert {panel.x_range for panel in panels} == {(0.0, 90.0)}
    assert [panel.title for panel in run_panels(rows(steps=3))] == ["Losses", "Learning rate"]


def test_svg_is_well_formed_and_holds_its_text() -> None:
    svg = draw_panels([loss_panel(rows()), ap_panel(rows())])
    texts = [
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")
    ]
    assert {"Losses", "Average precision", "step", "total", "mask AP50"} <= set(texts)
    assert b"currentColor" in svg
    assert b"#010203" not in svg


def test_the_same_curves_give_the_same_bytes() -> None:
    assert draw_panels([loss_panel(rows())]) == draw_panels([loss_panel(rows())])


def test_inline_svgs_share_no_ids_and_name_no_addresses() -> None:
    svg = draw_panels([loss_panel(rows())])
    ids = [re.findall(r'\bid="([^"]+)"', inline_svg(svg, prefix)) for prefix in ("one-", "two-")]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    inlined = inline_svg(svg, "one-")
    assert inlined.startswith("<svg ")
    assert "//" not in inlined
    for reference in re.findall(r"(?:url\(|href=\")#([^)\"]+)", inlined):
        assert reference in ids[0]


@pytest.mark.parametrize(
    "y",
    [
        [],
        [1.0],
        [None, None],
        [float("nan"), 1.0, float("inf"), 0.5],
        [0.0, 0.0, 0.0],
        [-1.0, -2.0],
        list(np.linspace(1, 0, 500)),
    ],
)
@pytest.mark.parametrize("smooth", [True, False])
def test_curves_of_every_length_and_with_gaps(y: list[float | None], smooth: bool) -> None:
    panel = Panel([Curve("loss", range(len(y)), y)], smooth=smooth)
    picture = Image.open(io.BytesIO(draw_panels([panel], format="png")))
    assert min(picture.size) > 100


def test_a_dollar_in_a_name_is_a_dollar() -> None:
    assert b"cost $a$ <b>" not in draw_panels([Panel([], "cost $a$ <b>")])
    assert b"cost $a$ &lt;b&gt;" in draw_panels([Panel([], "cost $a$ <b>")])


@pytest.mark.parametrize(("name", "magic"), [("c.png", b"\x89PNG"), ("c.svg", b"<?xml"), ("c.pdf", b"%PDF")])
def test_save_curves_by_suffix(tmp_path: Path, name: str, magic: bytes) -> None:
    save_curves(rows(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_save_curves_of_an_empty_log(tmp_path: Path) -> None:
    save_curves([], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_the_users_own_plots_are_left_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    draw_panels([loss_panel(rows())])
    assert dict(mpl.rcParams) == before
