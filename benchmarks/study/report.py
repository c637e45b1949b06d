"""Tables and figures of STUDY.md, from the results file."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.study.claims import Finding, find
from benchmarks.study.figures import draw_curves, draw_differences
from benchmarks.study.record import Run, Study
from benchmarks.study.variants import VARIANTS
from fastmrcnn.files import atomic_path, write_text

BEGIN = "<!-- study: NAME (written by python -m benchmarks.study) -->"
END = "<!-- /study -->"
COLUMNS = ("mask AP", "mask AP50", "mask AP75", "box AP", "box AP50", "box AP75")


def rewrite(document: Path, study: Study) -> None:
    """Put tables and figures between the document's markers; the pictures lie beside it, in ``results``."""
    text = document.read_text(encoding="utf-8")
    parts: dict[str, Callable[[Study], str]] = {"claims": claims_table, "variants": variants_table, "setting": setting}
    for name, render in parts.items():
        begin = BEGIN.replace("NAME", name)
        pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(END)}", re.DOTALL)
        part = f"{begin}\n\n{render(study)}\n\n{END}"
        text, count = pattern.subn(lambda _, part=part: part, text)
        if not count:
            raise SystemExit(f"{document}: expected a line {begin!r} and one {END!r}")
    write_text(document, text)
    figures = {"study-differences.png": draw_differences(find(study)), "study-curves.png": draw_curves(study)}
    for name, drawn in figures.items():
        with atomic_path(document.parent / "results" / name) as temporary:
            temporary.write_bytes(drawn)


def claims_table(study: Study) -> str:
    """One line a claim: the paired differences in points, and what they tell."""
    lines = [
        "| claim | measure | paper | here | each seed | seeds for it | verdict |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for finding in find(study):
        claim, differences = finding.claim, finding.differences
        measure = claim.metric if claim.than is None else f"{claim.metric} less {claim.than}"
        cells = [
            claim.text,
            measure,
            claim.paper or "-",
            f"{finding.mean:+.1f} ± {finding.reach:.1f}",
            f"{min(differences):+.1f} .. {max(differences):+.1f}, sd {finding.deviation:.1f}",
            f"{sum(value > 0 for value in differences)} of {len(differences)}",
            _emphasised(finding),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def variants_table(study: Study) -> str:
    """One line a variant: mean, standard deviation and range over its seeds, in points."""
    lines = [
        f"| variant | seeds | {' | '.join(COLUMNS)} | s a run | images/s |",
        f"|---|---:|{'---:|' * len(COLUMNS)}---:|---:|",
    ]
    for name, variant in VARIANTS.items():
        runs = list(study.of(name).values())
        if runs:
            cells = [spread([run.value(column) for run in runs]) for column in COLUMNS]
            seconds = statistics.median(run.seconds for run in runs)
            rate = statistics.median(run.images_per_second for run in runs)
            lines.append(f"| {variant.title} | {len(runs)} | {' | '.join(cells)} | {seconds:.0f} | {rate:.1f} |")
    return "\n".join(lines)


def spread(values: Sequence[float | None]) -> str:
    """``29.5 ± 0.8 (28.4..30.6)``, in points of average precision."""
    points = [100 * value for value in values if value is not None]
    if not points:
        return "-"
    deviation = f" ± {statistics.stdev(points):.1f}" if len(points) > 1 else ""
    return f"{statistics.fmean(points):.1f}{deviation} ({min(points):.1f}..{max(points):.1f})"


def setting(study: Study) -> str:
    """What was trained on what, and with which software."""
    values, facts, versions = study.setting, study.classifier, study.versions
    commits = ", ".join(dict.fromkeys(run.commit for run in study.runs))
    hours = sum(run.seconds for run in study.runs) / 3600
    return (
        f"Scenes of {values['side']} x {values['side']} pixels with {', '.join(values['classes'])}: "
        f"{values['train_images']} to train on, {values['val_images']} to measure on. ResNet-18 with {values['width']} "
        f"channels in its stem, started from a classifier of {facts['crops']} single objects (accuracy "
        f"{facts['accuracy']:.3f} on others; {facts['seconds']:.0f} s to train). {values['steps']} steps of "
        f"{values['batch_size']} images, AdamW at {values['learning_rate']:g}, cosine.\n\n"
        f"{len(study.runs)} runs, {hours:.1f} hours on one thread of a shared machine; commit {commits}; "
        f"torch {versions['torch']}, {versions['instruction set']} kernels."
    )


def summary(study: Study) -> str:
    """The findings, a line each, for the terminal."""
    return "\n".join(
        f"{finding.claim.text} ({finding.claim.metric}): {finding.mean:+.2f} ± {finding.reach:.2f} points "
        f"over {len(finding.differences)} seeds: {finding.verdict}"
        for finding in find(study)
    )


def run_line(run: Run) -> str:
    """One finished run, for the terminal."""
    mask, box = (f"{100 * (value or 0):.1f}" for value in (run.mask["AP"], run.box["AP"]))
    return f"{run.variant} seed {run.seed}: mask AP {mask}, box AP {box}, {run.seconds:.0f} s"


def _emphasised(finding: Finding) -> str:
    return finding.verdict if finding.verdict in ("reproduced", "equal within noise") else f"**{finding.verdict}**"
