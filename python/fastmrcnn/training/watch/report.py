"""report.html of a run, made of the files in its folder and the rows of its metrics."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from fastmrcnn.errors import UserError
from fastmrcnn.files import read_json
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.watch.history import RowHistory
from fastmrcnn.training.watch.sink import Row, utc_now
from fastmrcnn.visualisation.curves import run_panels
from fastmrcnn.visualisation.report import Cell, Report

MOST_EVALUATIONS = 5  # that pictures are shown of: the first, the last, and some between

_log = logging.getLogger(__name__)

_EVALUATION = "the numbers of an evaluation"
_CUT_SHORT = ("interrupted", "stopped:", "failed:")  # outcomes of runs that can go on
_METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")
_FACTS = {"mask AP": "mask_ap", "box AP": "box_ap", "keypoint AP": "keypoint_ap"}


def write_run_report(output: Path, history: RowHistory, *, total_steps: int, outcome: str) -> None:
    """Write ``report.html`` of the run in ``output``; ``outcome`` is "running", or how the run ended."""
    sessions = read_json(output / "sessions.json", expected="the sessions of a run")
    options = read_json(output / "config.json", expected="the configuration of a run")
    step, machine = history.last.get("step", 0), sessions[-1]
    report = Report(
        f"Training run {output.name}",
        f"{outcome[:1].upper()}{outcome[1:]}, step {step} of {total_steps}.",
        footer=f"Written {utc_now()}; fastmrcnn {machine['fastmrcnn']}, torch {machine['torch']}, {machine['device']}",
    )
    if outcome.startswith(_CUT_SHORT):
        report.text(f"Go on with `fastmrcnn train --resume {output}`.")
    report.facts(_facts(history))
    panels = run_panels(history.rows)
    if panels:
        report.section("Curves", "The strong lines are running means; metrics.csv has every number.")
        report.curves(*panels)
    evaluations = _evaluations(output, history.measured)
    if evaluations:
        _table_section(report, evaluations[-1])
        _pictures_section(report, output, evaluations)
    _configuration_section(report, options)
    _machine_section(report, sessions)
    report.save(output / "report.html")


def _facts(history: RowHistory) -> dict[str, Cell]:
    """The best of each average precision, and what the last step says."""
    facts: dict[str, Cell] = {}
    for shown, name in _FACTS.items():
        having = [row for row in history.measured if row.get(name) is not None]
        if having:
            best = max(having, key=lambda row: float(row[name]))
            facts[f"best {shown}, step {best['step']}"] = best[name]
    for shown, name in {"loss": "loss", "images per second": "images_per_second", "GPU GiB": "gpu_memory_gib"}.items():
        if history.last.get(name) is not None:
            facts[shown] = history.last[name]
    return facts | {"time in steps": str(timedelta(seconds=round(history.seconds)))}


def _evaluations(output: Path, measured: Sequence[Row]) -> list[dict[str, Any]]:
    """The stored evaluations that the metrics have too, in order: a run that goes on from an earlier step has repented
    of the others. One that cannot be read costs no report."""
    steps = {row["step"] for row in measured}
    found = []
    for path in sorted((output / "evaluations").glob("step-*/result.json")):
        try:
            result = _read_evaluation(path)
        except UserError as error:
            _warn_once(f"an evaluation is left out of the report: {error}")
            continue
        if result["step"] in steps:
            found.append(result | {"folder": path.parent})
    return found


def _read_evaluation(path: Path) -> dict[str, Any]:
    """``result.json``, with the types that it should have."""
    result = read_json(path, expected=_EVALUATION)
    types = {"step": int, "images": list, "per_class": dict, "box": dict, "mask": dict, "keypoint": dict}
    if not isinstance(result, dict) or not all(isinstance(result.get(name), kind) for name, kind in types.items()):
        raise UserError(f"{path}: expected {_EVALUATION}; {', '.join(types)} are not all there")
    columns = [list(values) if isinstance(values, dict) else None for values in result["per_class"].values()]
    if None in columns or any(names != columns[0] for names in columns):
        raise UserError(f"{path}: expected {_EVALUATION}; its classes have not the same numbers")
    return result


@cache
def _warn_once(text: str) -> None:
    """A report is written again and again."""
    _log.warning("%s", text)


def _table_section(report: Report, last: Mapping[str, Any]) -> None:
    report.section("Average precision", f"COCO's metrics after step {last['step']}, over IoU 0.50 to 0.95.")
    columns = list(next(iter(last["per_class"].values()), {}))
    rows: list[list[Cell]] = [[name, *(values[key] for key in columns)] for name, values in last["per_class"].items()]
    report.table(["class", *(column.replace("_", " ").replace("ap", "AP") for column in columns)], rows)
    kinds = [kind for kind in ("box", "mask", "keypoint") if last.get(kind)]
    totals: list[list[Cell]] = [[kind, *(last[kind].get(metric) for metric in _METRICS)] for kind in kinds]
    report.table(["all classes", *(metric.replace("_", " ") for metric in _METRICS)], totals)


def _pictures_section(report: Report, output: Path, evaluations: Sequence[Mapping[str, Any]]) -> None:
    """A row of pictures for each image: its annotations, and what was found as the run went on."""
    names = evaluations[-1]["images"]
    alike = [evaluation for evaluation in evaluations if evaluation["images"] == names]
    if not names:
        return
    chosen = spread(alike, MOST_EVALUATIONS)
    report.section(
        "Predictions over time",
        "The same evaluation images after each evaluation, with what has a score of at least 0.5. "
        f"All are in `{output.name}/evaluations`.",
    )
    rows = []
    for number, name in enumerate(names, start=1):
        files = [chosen[-1]["folder"] / f"{number}-annotated.jpg"]
        files += [evaluation["folder"] / f"{number}-found.jpg" for evaluation in chosen]
        rows.append(([_picture(file) for file in files], name))
    report.comparisons(["annotated", *(f"step {evaluation['step']}" for evaluation in chosen)], rows, least_width=900)


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as stored:
            picture: Image.Image = stored.convert("RGB")
    except OSError as error:
        raise UserError(f"{path}: expected a picture of an evaluation: {error}") from None
    return picture


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most ``most`` of ``items``: the first, the last and some evenly between.

    >>> spread(range(1, 11), 4)
    [1, 4, 7, 10]
    """
    if len(items) <= most:
        return list(items)
    return [items[number * (len(items) - 1) // (most - 1)] for number in range(most)]


def _configuration_section(report: Report, options: Mapping[str, Any]) -> None:
    report.section("Configuration", "What differs from the defaults comes first; `config.json` holds the same.")
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    plain = {name: None if value is dataclasses.MISSING else value for name, value in defaults.items()}
    rows: list[list[Cell]] = []
    for name, value in options.items():
        default = plain.get(name)
        rows.append([f"`{name}`", _text(value), _text(default)])
    rows.sort(key=lambda row: row[1] == row[2])
    report.table(["option", "value", "default"], rows)


def _machine_section(report: Report, sessions: Sequence[Mapping[str, Any]]) -> None:
    report.section("Machine", "What the run was started on, and resumed on.")
    names = list(dict.fromkeys(name for session in sessions for name in session))
    rows: list[list[Cell]] = [[name.replace("_", " "), *(_text(s.get(name)) for s in sessions)] for name in names]
    titles = [f"from step {session['first_step']}" for session in sessions]
    report.table(["", *titles], rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
