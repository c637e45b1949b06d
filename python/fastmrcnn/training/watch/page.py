"""Keeps report.html up to date, with all of a run that there is to look at, and draws curves.png when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from fastmrcnn.environment import environment
from fastmrcnn.errors import UserError
from fastmrcnn.files import atomic_directory, read_json, write_json
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.training.watch.history import RowHistory
from fastmrcnn.training.watch.report import write_run_report
from fastmrcnn.training.watch.sink import Evaluated, Row, Sink, utc_now
from fastmrcnn.visualisation.curves import save_curves

REFRESH_SECONDS = 300.0  # at most between two reports of a run that trains and is not evaluated
JPEG_QUALITY = 80


class RunPage(Sink):
    """Writes ``evaluations/step-N`` (the numbers and small pictures of each evaluation), ``sessions.json`` (on what the
    run was started and resumed), and from these and the rows ``report.html`` and, in the end, ``curves.png``.

    A report is written after every evaluation, every few minutes, and at the end, however that comes.
    """

    def __init__(self, output: Path, history: Iterable[Row], *, first_step: int, total_steps: int, device: str) -> None:
        self.name = str(output / "report.html")
        self._output, self._total_steps = output, total_steps
        self._history = RowHistory(history)
        self._written_at = time.monotonic()
        sessions = [session for session in _sessions(output) if session["first_step"] <= first_step]
        sessions.append(
            {"first_step": first_step, "started": utc_now(), "device": _device_name(device)} | environment()
        )
        write_json(output / "sessions.json", sessions, indent=2)

    def write(self, row: Row) -> None:
        if time.monotonic() - self._written_at > REFRESH_SECONDS:
            self._refresh("running")  # before the row is taken: where this fails, it is told again
        self._history.add(row)

    def evaluated(self, evaluated: Evaluated) -> None:
        save_evaluation(self._output / "evaluations" / f"step-{evaluated.step:08d}", evaluated)
        if evaluated.step < self._total_steps:  # else the end follows
            self._refresh("running")

    def close(self, outcome: str) -> None:
        self._refresh(outcome)
        save_curves(self._history.rows, self._output / "curves.png")

    def _refresh(self, outcome: str) -> None:
        self._written_at = time.monotonic()  # before: where it fails, the next attempt can wait as well
        write_run_report(self._output, self._history, total_steps=self._total_steps, outcome=outcome)


def save_evaluation(folder: Path, evaluated: Evaluated) -> None:
    """``result.json`` with all numbers, and the pictures ``1-annotated.jpg``, ``1-found.jpg``, ..., whole or not at
    all."""
    result = evaluated.result
    kinds = {"box": result.box, "mask": result.mask, "keypoint": result.keypoint}
    numbers = kinds | {"per_class": result.per_class, "table": result.table}
    with atomic_directory(folder) as temporary:
        for number, shown in enumerate(evaluated.shown, start=1):
            shown.truth.save(temporary / f"{number}-annotated.jpg", quality=JPEG_QUALITY)
            shown.found.save(temporary / f"{number}-found.jpg", quality=JPEG_QUALITY)
        names = [shown.name for shown in evaluated.shown]
        write_json(temporary / "result.json", {"step": evaluated.step, "images": names} | numbers, indent=2)


def _sessions(output: Path) -> list[dict[str, Any]]:
    """The starts of the run so far; none where the file is not there or not ours, which is no reason not to train."""
    try:
        sessions = read_json(output / "sessions.json")
        return [session for session in sessions if isinstance(session["first_step"], int)]
    except (UserError, TypeError, KeyError):
        return []


def _device_name(device: str) -> str:
    resolved = resolve_device(device)
    return torch.cuda.get_device_name(resolved) if resolved.type == "cuda" else str(resolved)
