"""Curves of a training run, drawn by matplotlib as SVG or PNG.

Matplotlib is imported when the first curve is drawn, and through its object interface alone: no window system,
no global figure, nothing that the user's own plots could notice.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmrcnn.files import atomic_path
from fastmrcnn.visualisation.colours import LINE_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The losses of a training row, in the order of their lines and colours.
LOSSES = {
    "loss": "total",
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
    "loss_objectness": "RPN object",
    "loss_rpn_box_reg": "RPN box",
    "loss_keypoint": "keypoint",
}
# Those of a validation row, by the same names.
VALIDATION_LOSSES = {f"val_{key}": name for key, name in LOSSES.items()}
# The averages of an evaluation row.
AVERAGE_PRECISIONS = {"box_ap": "box AP", "mask_ap": "mask AP", "mask_ap50": "mask AP50", "keypoint_ap": "keypoint AP"}

# Ink that no curve uses. In an SVG it becomes ``currentColor``, so that text and axes follow the page's theme.
_INK = "#010203"
_COLOURS = tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in LINE_COLOURS)
_PANEL_INCHES = (6.4, 3.4)
# Around the axes of a panel, in inches. Matplotlib's own layouts draw every figure twice to find them.
_LEFT, _BOTTOM, _TOP = 0.75, 0.55, 0.35
_LEGEND = (0.45, 0.085)  # its line and gaps, and about a letter of its longest name


@dataclass(frozen=True)
class Curve:
    """One line: ``y`` over ``x``; entries that are None or not finite leave a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


@dataclass(frozen=True)
class Panel:
    """One pair of axes with its curves."""

    curves: Sequence[Curve]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    y_range: tuple[float, float] | None = None  # None: from zero to the largest smoothed value
    x_range: tuple[float, float] | None = None  # None: where there are points
    smooth: bool = False  # a running mean in front of the paler measured line
    markers: bool = False  # mark each measured point


def loss_panel(rows: Sequence[Mapping[str, Any]]) -> Panel:
    """The losses over the steps, from the training rows of a metrics log (those with ``loss``)."""
    return Panel(_curves(rows, LOSSES), "Losses", "step", "loss", smooth=True)


def validation_panel(rows: Sequence[Mapping[str, Any]]) -> Panel:
    """The losses on the evaluation data, from the rows of a metrics log that have them (``val_loss``)."""
    return Panel(_curves(rows, VALIDATION_LOSSES), "Validation losses", "step", "loss", markers=True)


def learning_rate_panel(rows: Sequence[Mapping[str, Any]]) -> Panel:
    """The learning rate over the steps, from the training rows of a metrics log."""
    return Panel(_curves(rows, {"learning_rate": "learning rate"}), "Learning rate", "step", "learning rate")


def run_panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """All of a metrics log that there is to draw, over the same steps."""
    steps = (0.0, max((float(row["step"]) for row in rows), default=1.0))
    panels = [loss_panel(rows), validation_panel(rows), ap_panel(rows), learning_rate_panel(rows)]
    return [replace(panel, x_range=steps) for panel in panels if panel.curves]


def ap_panel(rows: Sequence[Mapping[str, Any]]) -> Panel:
    """Average precision over the steps, from the evaluation rows of a metrics log (those with ``box_ap``)."""
    curves = _curves(rows, AVERAGE_PRECISIONS)
    return Panel(curves, "Average precision", "step", "AP", y_range=(0.0, 1.0), markers=True)


def draw_panels(panels: Sequence[Panel], *, format: str = "svg") -> bytes:
    """Draw the panels one below the other; ``format`` is "svg", "png" or "pdf".

    An SVG has a transparent ground and takes its ink from the page it stands in (``currentColor``); other formats are
    white with dark ink.

    >>> svg = draw_panels([Panel([Curve("loss", [1, 2, 3], [0.9, 0.5, 0.4])], "Losses", "step")])
    >>> svg.startswith(b"<?xml"), b"Losses" in svg
    (True, True)
    """
    import matplotlib
    from matplotlib.figure import Figure

    options: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text: small, selectable, and in the font of the page
        "svg.hashsalt": "fastmrcnn",  # the same curves give the same bytes
        "text.parse_math": False,  # a dollar in a name is a dollar
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        **{f"{part}.color": _INK for part in ("text", "xtick", "ytick", "grid")},
        **{f"axes.{part}": _INK for part in ("edgecolor", "labelcolor", "titlecolor")},
    }
    with matplotlib.rc_context(options):
        figure = Figure(figsize=(_PANEL_INCHES[0], _PANEL_INCHES[1] * max(len(panels), 1)))
        for panel, place in zip(panels, _places(panels), strict=True):
            _draw(figure.add_axes(place), panel)
        stream = io.BytesIO()
        vector = format == "svg"
        metadata = {"Date": None} if vector else None
        figure.savefig(stream, format=format, dpi=144, transparent=vector, metadata=metadata)
    drawn = stream.getvalue()
    return _slim(drawn.replace(_INK.encode(), b"currentColor")) if vector else drawn


def save_curves(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw a metrics log into an image file: losses, learning rate and, where there are any, validation losses and
    average precision.

    The format follows the suffix: .png, .svg or .pdf. The file appears whole or not at all.
    """
    drawn = draw_panels(run_panels(rows), format=Path(path).suffix.lstrip(".").lower() or "png")
    with atomic_path(path) as temporary:
        temporary.write_bytes(drawn)


def inline_svg(svg: bytes, prefix: str) -> str:
    """An SVG as an element for an HTML page: no prologue, no metadata, and ids that start with ``prefix``.

    Ids must be unique in a page, which two figures of one program would not be without the prefix.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", text)
    return text.replace("xlink:href", "href").strip()


def _slim(svg: bytes) -> bytes:
    """Round coordinates to a hundredth of a point, which halves a long curve."""
    return re.sub(rb"(\d\.\d\d)\d+(?=[\s\"])", rb"\1", svg)


def _curves(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Curve]:
    """A curve for each of the keys that occurs, over the rows that have it."""
    having = {key: [row for row in rows if key in row] for key in names}
    return [
        Curve(names[key], [row["step"] for row in chosen], [row[key] for row in chosen])
        for key, chosen in having.items()
        if chosen
    ]


def _places(panels: Sequence[Panel]) -> list[tuple[float, float, float, float]]:
    """Left, bottom, width and height of the axes of each panel, as shares of the figure: one below the other, and all
    as wide as the longest legend leaves them."""
    width, height = _PANEL_INCHES
    longest = max((len(curve.name) for panel in panels for curve in panel.curves), default=0)
    right = min(_LEGEND[0] + _LEGEND[1] * longest, width / 2)
    size = (width - _LEFT - right) / width, (height - _BOTTOM - _TOP) / height / max(len(panels), 1)
    return [(_LEFT / width, (row + _BOTTOM / height) / len(panels), *size) for row in reversed(range(len(panels)))]


def _draw(ax: Axes, panel: Panel) -> None:
    top = 0.0
    for index, curve in enumerate(panel.curves):
        colour = _COLOURS[index % len(_COLOURS)]
        x = np.asarray(curve.x, dtype=float)
        y = np.array([math.nan if value is None else float(value) for value in curve.y])
        y[~np.isfinite(y)] = math.nan
        marker = "o" if panel.markers or np.isfinite(y).sum() == 1 else None  # a lone point would not show as a line
        shown = _running_mean(y) if panel.smooth else y
        if panel.smooth:
            ax.plot(x, y, color=colour, linewidth=0.8, alpha=0.25)
        ax.plot(
            x, shown, color=colour, linewidth=2.2 if index == 0 else 1.5, marker=marker, markersize=4, label=curve.name
        )
        top = max(top, float(np.nanmax(shown, initial=0.0)))
    ax.set_title(panel.title, loc="left", fontweight="bold")
    ax.set_xlabel(panel.x_label)
    ax.set_ylabel(panel.y_label)
    ax.set_ylim(panel.y_range or (0.0, 1.08 * top or 1.0))
    if panel.x_range is not None:
        left, right = panel.x_range
        ax.set_xlim(left, right + 0.02 * (right - left))
    ax.grid(alpha=0.15, linewidth=0.8)
    ax.set_axisbelow(True)
    if panel.curves:
        # Outside the axes, where it can hide nothing.
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, handlelength=1.2)


def _running_mean(y: np.ndarray) -> np.ndarray:
    """The mean over a centred window of about a thirtieth of the curve; gaps are left out of it, and stay gaps."""
    reach = len(y) // 60
    if reach == 0:
        return y
    known = np.isfinite(y)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, y, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    first = np.clip(np.arange(len(y)) - reach, 0, None)
    last = np.clip(np.arange(len(y)) + reach + 1, None, len(y))
    mean = (sums[last] - sums[first]) / np.maximum(counts[last] - counts[first], 1)
    return np.where(known, mean, math.nan)
