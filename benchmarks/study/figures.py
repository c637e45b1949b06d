"""The figures of STUDY.md."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence

from benchmarks.study.claims import Finding
from benchmarks.study.record import Study
from benchmarks.study.variants import VARIANTS
from fastmrcnn.visualisation.curves import Curve, Panel, draw_panels

LOSS_VARIANTS = ("baseline", "roi_pool", "torchvision")
SHOWN_LOSSES = ("loss_classifier", "loss_mask")  # all variants measure these alike; torchvision smooths that of boxes


def draw_curves(study: Study) -> bytes:
    """Average precision over the steps, a mean over the seeds, and losses."""
    panels = [
        Panel(_evaluations(study, "mask_ap"), "Mask AP, mean over the seeds", "step", "AP", markers=True),
        Panel(_evaluations(study, "box_ap"), "Box AP, mean over the seeds", "step", "AP", markers=True),
        Panel(_losses(study), "Losses, mean over the seeds", "step", "loss"),
    ]
    return draw_panels([panel for panel in panels if panel.curves], format="png")


def draw_differences(findings: Sequence[Finding]) -> bytes:
    """A row a claim: each seed's difference as a point, their mean and its 95% interval as a bar."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 0.8 + 0.36 * len(findings)), layout="constrained")
    ax = figure.add_subplot()
    for row, finding in enumerate(findings):
        held = finding.verdict in ("reproduced", "equal within noise")
        colour = "#1f6fb4" if held else "#c0392b"
        ax.plot(finding.differences, [row] * len(finding.differences), "o", color=colour, alpha=0.35, markersize=4)
        ax.errorbar(
            finding.mean, row, xerr=finding.reach, fmt="|", color=colour, capsize=4, elinewidth=2, markersize=12
        )
    names = [f"{f.claim.text} ({f.claim.metric}{f' less {f.claim.than}' if f.claim.than else ''})" for f in findings]
    ax.set_yticks(range(len(findings)), names, fontsize=8)
    ax.invert_yaxis()
    ax.axvline(0, color="#555555", linewidth=0.8)
    ax.set_xlabel("difference in points of AP: each seed, mean and its 95% interval", fontsize=8)
    ax.tick_params(axis="x", labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", alpha=0.15)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def _evaluations(study: Study, name: str) -> list[Curve]:
    curves = []
    # Those without masks last, so that a variant has one colour in all panels.
    for variant in sorted(VARIANTS, key=lambda variant: variant == "box_only"):
        rows = [row for run in study.of(variant).values() for row in run.evaluations if row[name] is not None]
        if rows:
            curves.append(_mean_curve(variant, rows, name))
    return curves


def _losses(study: Study) -> list[Curve]:
    curves = []
    for variant in LOSS_VARIANTS:
        rows = [row for run in study.of(variant).values() for row in run.losses]
        curves += [_mean_curve(f"{variant}, {name}", rows, name) for name in SHOWN_LOSSES if rows]
    return curves


def _mean_curve(title: str, rows: Sequence[dict[str, float]], name: str) -> Curve:
    steps = sorted({row["step"] for row in rows})
    return Curve(title, steps, [statistics.fmean(row[name] for row in rows if row["step"] == step) for step in steps])
